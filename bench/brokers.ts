// The brokers that are compared, behind one face: start, look at the process, kill, start again.
//
// Used by run.ts only. Each broker gets a data directory of its own, on the same file system, removed when it is closed.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MillraceBroker, nodeProgram } from '../test/support/broker.ts'
import { KafkaBroker } from '../test/support/kafka.ts'
import { Child, freePort, repositoryDirectory } from '../test/support/process.ts'
import { answersApiVersions } from '../test/support/raw.ts'

export const columns = ['millrace', 'kafka', 'kafka-flush', 'nothing'] as const
/** What is compared unless other columns are asked for. */
export const defaultColumns = ['millrace', 'kafka', 'kafka-flush']
export type Column = (typeof columns)[number]

export const columnTitles: Record<Column, string> = {
  millrace: 'Millrace',
  kafka: 'Kafka 4.3.0, page cache',
  'kafka-flush': 'Kafka 4.3.0, flush.messages=1',
  nothing: 'a broker that does nothing',
}

export interface BenchBroker {
  readonly port: number
  readonly pid: number
  /** Milliseconds from process start to the first answer, without Kafka's separate format step. */
  readonly readyMs: number
  kill(): Promise<void>
  /** Starts again on the same data; gives milliseconds until it answers. */
  restart(): Promise<number>
  close(): Promise<void>
}

export async function startBroker(column: Column): Promise<BenchBroker> {
  if (column === 'millrace') return await startMillrace()
  if (column === 'nothing') return await startNothing()
  return await startKafka(column === 'kafka-flush')
}

async function startNothing(): Promise<BenchBroker> {
  const port = await freePort()
  const startedAt = performance.now()
  const child = new Child(nodeProgram, [join(repositoryDirectory, 'bench/null-broker.ts'), String(port)])
  await child.waitFor(/ready/, 10_000)
  return {
    port,
    pid: child.pid,
    readyMs: performance.now() - startedAt,
    kill: async () => void (await child.stop('SIGKILL')),
    restart: async () => Number.NaN,
    close: async () => void (await child.stop('SIGKILL')),
  }
}

async function startMillrace(): Promise<BenchBroker> {
  const startedAt = performance.now()
  const broker = await MillraceBroker.start({ readyTimeoutMs: 120_000 })
  await untilAnswered(broker.port)
  return {
    port: broker.port,
    get pid() {
      return broker.pid
    },
    readyMs: performance.now() - startedAt,
    kill: () => broker.kill(),
    restart: async () => {
      const restartedAt = performance.now()
      await broker.restart()
      await untilAnswered(broker.port)
      return performance.now() - restartedAt
    },
    close: () => broker.close(),
  }
}

async function startKafka(flushEach: boolean): Promise<BenchBroker> {
  const properties: Record<string, string> = { 'num.partitions': '1' }
  if (flushEach) properties['log.flush.interval.messages'] = '1'
  // Started twice: the first start formats and makes the internal topics, so that the second is a start and nothing else.
  const broker = await KafkaBroker.start({ production: true, properties })
  await broker.child.stop('SIGTERM')
  const startedAt = performance.now()
  await broker.restart()
  return {
    port: broker.port,
    get pid() {
      return broker.child.pid
    },
    readyMs: performance.now() - startedAt,
    kill: () => broker.kill(),
    restart: async () => {
      const restartedAt = performance.now()
      await broker.restart()
      return performance.now() - restartedAt
    },
    close: () => broker.close(),
  }
}

async function untilAnswered(port: number): Promise<void> {
  const deadline = performance.now() + 120_000
  while (!(await answersApiVersions(port))) {
    if (performance.now() > deadline) throw new Error(`no broker answers on port ${port}`)
  }
}

/** Resident memory in megabytes (10^6 bytes). */
export function residentMegabytes(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return (Number(match?.[1]) * 1024) / 1e6
}

/** User and system seconds that all threads of the process have used. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}
