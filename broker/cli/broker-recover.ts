// `millrace broker unsafe-recover`: the last resort when a majority of the brokers is lost for good.
//
// Works on the data directory of a broker that is stopped, not on a cluster. Says what would be lost and asks before it writes anything.

import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import type { Argv } from 'yargs'
import { openDisk } from '../../storage/open-disk.ts'
import {
  type LostGroup,
  planRecovery,
  type RecoverOptions,
  type RecoveryPlan,
  recover,
} from '../cluster/unsafe-recover.ts'
import { BrokerConfig } from '../config.ts'
import { directoryProblem, openDataDirectory } from '../data-directory.ts'
import { noNetwork, systemClock, systemRandom } from '../environment.ts'
import { consoleLogger } from '../observe/log.ts'
import { CommandFailed, UsageError } from './exit.ts'
import { formatTable, note, print, printJson } from './output.ts'

interface RecoverArguments {
  readonly 'data-dir': string
  readonly lost: string
  readonly yes: boolean
  readonly json: boolean
}

const MEMORY_BYTES = 256 << 20
const JOURNAL_FILE_BYTES = 32 << 20
const SHOWN_MAX = 50

export function recoverCommand<T>(yargs: Argv<T>): Argv<T> {
  return yargs.command('unsafe-recover', 'Go on without a majority that is lost for good', options, async (args) =>
    runRecover(args),
  )
}

function options(yargs: Argv): Argv<RecoverArguments> {
  return yargs
    .usage(
      '$0 broker unsafe-recover --data-dir DIR --lost 2,3\n\n' +
        'Only when a majority of the brokers that hold something is lost for good. Run it on one surviving broker, the one with the\n' +
        'most recent data, while it is stopped. From then on that broker decides alone in every group that has lost its majority:\n' +
        'acknowledged records that only the lost brokers held are gone, also those that another surviving broker holds.',
    )
    .option('data-dir', { type: 'string', requiresArg: true, demandOption: true, describe: 'Its data directory' })
    .option('lost', {
      type: 'string',
      requiresArg: true,
      demandOption: true,
      describe: 'Numbers of the brokers that never come back, with commas between them',
    })
    .option('yes', { type: 'boolean', default: false, describe: 'Do not ask' })
    .option('json', { type: 'boolean', default: false, describe: 'Print JSON instead of a table' })
    .example('$0 broker unsafe-recover --data-dir /var/lib/millrace --lost 2,3', 'Show what would be lost, then ask')
}

async function runRecover(args: RecoverArguments): Promise<void> {
  const dataDirectory = path.resolve(args['data-dir'])
  const lost = new Set(args.lost.split(',').map(brokerNumber))
  const disk = await openDisk(dataDirectory).catch((error) => {
    throw directoryProblem(dataDirectory, error)
  })
  const { lock, record } = await openDataDirectory(disk, dataDirectory, process.getuid?.())
  try {
    if (record === undefined) throw new CommandFailed(`${dataDirectory} holds no data of a broker`)
    const settings = [
      ['node.id', String(record.nodeId)],
      ['log.dir', dataDirectory],
    ] as const
    const logger = consoleLogger('error')
    const recovery: RecoverOptions = {
      environment: { clock: systemClock, random: systemRandom, disk, network: noNetwork, logger },
      config: new BrokerConfig(settings),
      dataDirectory,
      record,
      memoryBytes: MEMORY_BYTES,
      journalFileBytes: JOURNAL_FILE_BYTES,
      lost,
    }
    const plan = await planRecovery(recovery)
    await show(plan, args, record.nodeId)
    if (plan.groups.length === 0) {
      note('No group of this broker has lost its majority: nothing is changed.')
      return
    }
    if (!args.yes && !(await isConfirmed(record.nodeId))) throw new CommandFailed('nothing is changed')
    await recover(recovery)
    note(
      `Broker ${record.nodeId} decides alone in ${plan.groups.length} groups now. Start it, and then take the lost brokers out: drain and remove them.\n` +
        'Start the other survivors after it. Where one of them holds committed records that are missing here, it says so and serves that partition\n' +
        'no more; where its metadata are ahead it ends, and joins again with an empty data directory. Nothing of theirs is deleted unasked.',
    )
  } finally {
    await lock.release()
    await disk.close()
  }
}

async function show(plan: RecoveryPlan, args: RecoverArguments, nodeId: number): Promise<void> {
  if (args.json) {
    await printJson(plan)
    return
  }
  if (plan.groups.length === 0) return
  const rows = plan.groups
    .slice(0, SHOWN_MAX)
    .map((group) => [group.name, group.voters.join(), group.endOffset, whatOf(group)])
  await print(formatTable(['GROUP', 'VOTERS', 'END HERE', 'AT RISK'], rows))
  if (plan.groups.length > SHOWN_MAX) note(`... and ${plan.groups.length - SHOWN_MAX} more`)
  note(
    `\nIn these ${plan.groups.length} groups what broker ${nodeId} has becomes the truth: whatever was acknowledged behind the end shown here is lost.`,
  )
  if (plan.unheld.length > 0) {
    const names = plan.unheld.slice(0, SHOWN_MAX).join(', ')
    note(
      `${plan.unheld.length} partitions have lost their majority and are not on this broker at all, so they stay lost: ${names}`,
    )
  }
}

function whatOf({ isLearner, uncertainRecords }: LostGroup): string {
  if (isLearner) return 'this broker only listened: it may be far behind'
  return uncertainRecords > 0
    ? `${uncertainRecords} records here may never have been acknowledged`
    : 'what is behind the end'
}

async function isConfirmed(nodeId: number): Promise<boolean> {
  if (process.stdin.isTTY !== true) {
    note('Give --yes to do it without being asked.')
    return false
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const wanted = `lose data on broker ${nodeId}`
    return (await terminal.question(`Type "${wanted}" to go on: `)).trim() === wanted
  } finally {
    terminal.close()
  }
}

function brokerNumber(text: string): number {
  if (!/^\d{1,10}$/.test(text.trim())) throw new UsageError(`${text} is no broker id`)
  return Number(text)
}
