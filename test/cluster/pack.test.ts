// The npm package as somebody gets it: packed, installed in an empty folder, started; with and without the prebuilt addon.
//
// Slow suite: needs the npm registry for the package's dependencies and for a Node 24.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Kafka, logLevel } from 'kafkajs'
import { nodeProgram } from '../support/broker.ts'
import {
  Child,
  hasProgram,
  removeDirectory,
  repositoryDirectory,
  run,
  type ToolResult,
  temporaryDirectory,
} from '../support/process.ts'

const OTHER_NODE = '24'
// A download that hangs is given up and asked for again.
const quiet = ['--no-audit', '--no-fund', '--loglevel=error', '--fetch-timeout=20000', '--fetch-retries=5']
/** An installed broker must find nothing of this repository's. */
const environment = { HOME: process.env.HOME, PATH: process.env.PATH, TMPDIR: process.env.TMPDIR }

const embedded = `
import { startBroker } from 'millrace'
const broker = await startBroker({ port: 0 })
console.log('running', process.versions.node, broker.bootstrapServers)
await broker.close()
console.log('closed')
`

async function npm(args: readonly string[], cwd: string): Promise<ToolResult> {
  const result = await run('npm', args, { cwd, timeoutMs: 180_000 })
  assert.equal(result.code, 0, `npm ${args.join(' ')}\n${result.stdout}\n${result.stderr}`)
  return result
}

function pathWith(node: string): NodeJS.ProcessEnv {
  return { ...environment, PATH: `${dirname(node)}:${process.env.PATH}` }
}

const noNpm = (await hasProgram('npm', ['--version'])) ? false : 'there is no npm here'

describe('the package', { skip: noNpm, timeout: 240_000 }, () => {
  let base = ''
  let withAddon = ''
  let withoutAddon = ''
  let otherNode = ''
  const command = () => join(withAddon, 'node_modules/.bin/millrace')

  before(async () => {
    base = await temporaryDirectory('pack')
    const packed = join(base, 'packed')
    withAddon = join(base, 'with addon')
    withoutAddon = join(base, 'without addon')
    const other = join(base, 'node')
    for (const directory of [packed, withAddon, withoutAddon, other]) await mkdir(directory)
    const [main, addon] = await Promise.all([
      npm(['pack', '--silent', '--pack-destination', packed], repositoryDirectory),
      run('sh', [join(repositoryDirectory, 'native/pack.sh'), packed], { timeoutMs: 120_000 }),
    ])
    assert.equal(addon.code, 0, addon.stderr)
    const mainTarball = join(packed, main.stdout.trim().split('\n').at(-1) ?? '')
    const addonTarball = addon.stdout.trim().split('\n').at(-1) ?? ''
    await npm(['install', ...quiet, mainTarball, addonTarball], withAddon)
    await npm(['install', ...quiet, '--prefer-offline', mainTarball], withoutAddon)
    const nodePackage = `node-${process.platform}-${process.arch}`
    await npm(['install', ...quiet, `${nodePackage}@${OTHER_NODE}`], other)
    otherNode = join(other, 'node_modules', nodePackage, 'bin/node')
    for (const directory of [withAddon, withoutAddon]) await writeFile(join(directory, 'embedded.mjs'), embedded)
  })

  after(() => removeDirectory(base))

  test('holds JavaScript, declarations and two documents, and neither sources nor tests', () => {
    const installed = join(withAddon, 'node_modules/millrace')
    assert.deepEqual(readdirSync(installed).sort(), ['LICENSE', 'README.md', 'dist', 'package.json'])
    const files = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' })
    assert.deepEqual(readdirSync(join(installed, 'dist')).sort(), ['broker', 'native', 'protocol', 'storage'])
    const others = files.filter((name) => /\.[a-z]+$/.test(name) && !/\.(js|d\.ts)$/.test(name))
    assert.deepEqual(others, [])
  })

  test('has declarations that a strict TypeScript program compiles against', async () => {
    const program = `
import { OperatorError, startBroker, type EmbeddedBroker } from 'millrace'
const broker: EmbeddedBroker = await startBroker({ port: 0, config: { 'num.partitions': 3 } })
const servers: string = broker.bootstrapServers
// @ts-expect-error a port is a number
const wrong = () => startBroker({ port: 'any' })
export { OperatorError, servers, wrong }
`
    await writeFile(join(withAddon, 'program.mts'), program)
    const types = join(repositoryDirectory, 'node_modules/@types')
    const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--typeRoots', types]
    const tsc = join(repositoryDirectory, 'node_modules/.bin/tsc')
    const result = await run(nodeProgram, [tsc, ...flags, '--types', 'node', 'program.mts'], { cwd: withAddon })
    assert.equal(result.code, 0, result.stdout)
  })

  test('millrace start serves a kafkajs producer and consumer, on the prebuilt addon', async () => {
    const flags = ['--port', '0', '--data-dir', join(base, 'data'), '--metrics-port', '0', '--memory', '64MiB']
    const setting = ['--set', 'group.initial.rebalance.delay.ms=0']
    // The file that npx runs: npx itself would keep our signal to itself.
    const child = new Child(command(), ['start', ...flags, ...setting], { cwd: withAddon, env: pathWith(nodeProgram) })
    try {
      const [, address] = await child.waitFor(/listening on (\S+) [\s\S]*metrics at/, 30_000)
      assert.match(child.stdout, /\((io_uring|threads)/, child.stdout)
      assert.equal(child.stderr, '')
      const kafka = new Kafka({ brokers: [address!], logLevel: logLevel.NOTHING })
      const producer = kafka.producer()
      await producer.connect()
      await producer.send({ topic: 'packed', messages: [{ value: 'hello' }] })
      await producer.disconnect()
      const consumer = kafka.consumer({ groupId: 'readers' })
      await consumer.connect()
      await consumer.subscribe({ topic: 'packed', fromBeginning: true })
      const value = await new Promise<string>((resolve) => {
        void consumer.run({ eachMessage: async ({ message }) => resolve(String(message.value)) })
      })
      assert.equal(value, 'hello')
      await consumer.disconnect()
    } finally {
      await child.stop()
    }
  })

  for (const major of ['pinned', OTHER_NODE]) {
    const nodeOf = () => (major === 'pinned' ? nodeProgram : otherNode)

    test(`its startBroker works under the ${major} Node, without a word on standard error`, async () => {
      const result = await run(nodeOf(), ['embedded.mjs'], { cwd: withAddon, env: environment, timeoutMs: 30_000 })
      assert.equal(result.code, 0, result.stderr)
      assert.match(result.stdout, /^running \d+\.\d+\.\d+ 127\.0\.0\.1:\d+\nclosed\n$/)
      if (major === OTHER_NODE) assert.match(result.stdout, new RegExp(`^running ${OTHER_NODE}\\.`))
      assert.equal(result.stderr, '')
    })

    test(`without the addon's package it warns in one line and works on plain Node fs under the ${major} Node`, async () => {
      const result = await run(nodeOf(), ['embedded.mjs'], { cwd: withoutAddon, env: environment, timeoutMs: 30_000 })
      assert.equal(result.code, 0, result.stderr)
      assert.match(result.stdout, /\nclosed\n$/)
      const [warning, ...more] = result.stderr.trimEnd().split('\n')
      assert.match(warning ?? '', /WARN .*plain Node fs.*@millrace\/native-/)
      assert.deepEqual(more, [])
    })
  }

  test('npx finds the command', async () => {
    const options = { cwd: withAddon, env: pathWith(nodeProgram), timeoutMs: 30_000 }
    const version = await run('npx', ['--no-install', 'millrace', '--version'], options)
    assert.equal(version.code, 0, version.stderr)
    assert.match(version.stdout, /\d+\.\d+\.\d+/)
    assert.equal((await run(command(), ['--help'], options)).code, 0)
  })
})
