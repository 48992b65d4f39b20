// What the sources keep to: directions of imports, and where time, chance, files and sockets may enter.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'

const root = path.join(import.meta.dirname, '..')

interface Source {
  readonly file: string
  readonly text: string
  /** Repository paths for our own modules, names for others. */
  readonly imports: readonly string[]
}

function sources(folder: string): Source[] {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const file = path.join(folder, name)
      const text = readFileSync(path.join(root, file), 'utf8')
      const imports = [...text.matchAll(/(?:from|import\()\s*'([^']+)'/g)].map(([, target]) =>
        target!.startsWith('.') ? path.join(path.dirname(file), target!) : target!,
      )
      return { file, text, imports }
    })
}

const all = ['broker', 'native', 'protocol', 'storage'].flatMap(sources)

function offenders(
  within: (file: string) => boolean,
  isForbidden: (target: string, file: string) => boolean,
): string[] {
  return all
    .filter(({ file }) => within(file))
    .flatMap(({ file, imports }) =>
      imports.filter((target) => isForbidden(target, file)).map((target) => `${file} imports ${target}`),
    )
}

test('native imports nothing of the layers above it', () => {
  assert.deepEqual(
    offenders(
      (file) => file.startsWith('native/'),
      (target) => /^(broker|storage|protocol)\//.test(target),
    ),
    [],
  )
})

test('storage takes only records and invariants from protocol, and nothing from broker', () => {
  assert.deepEqual(
    offenders(
      (file) => file.startsWith('storage/'),
      (target) =>
        target.startsWith('broker/') ||
        (target.startsWith('protocol/') && !/^protocol\/(records\/|invariant\.ts)/.test(target)),
    ),
    [],
  )
})

test('protocol is a leaf without sockets, files and threads', () => {
  assert.deepEqual(
    offenders(
      (file) => file.startsWith('protocol/'),
      (target) => /^(broker|storage|native)\//.test(target) || /^node:(net|fs|worker_threads)/.test(target),
    ),
    [],
  )
})

test('raft reaches no socket, disk, timer, clock or random source', () => {
  assert.deepEqual(
    offenders(
      (file) => file.startsWith('broker/raft/'),
      (target) => !target.startsWith('broker/raft/') && target !== 'protocol/invariant.ts',
    ),
    [],
  )
})

test('nothing below the handlers imports them', () => {
  const below = /^broker\/(partition|groups|cluster|raft|replication|security|transactions|quotas|net)\//
  // The coordinator's answers are shaped by its handlers' shared types, never by the handlers themselves.
  assert.deepEqual(
    offenders(
      (file) => below.test(file),
      (target) => target.startsWith('broker/handlers/') && target !== 'broker/handlers/api.ts',
    ),
    [],
  )
})

test('only storage/native-disk.ts, the shards’ wake-up and start-up reach for the addon', () => {
  const allowed = new Set([
    'storage/native-disk.ts',
    'storage/open-disk.ts',
    'broker/shard/native-wake.ts',
    'broker/shard/shard-worker.ts',
    'broker/server.ts',
  ])
  assert.deepEqual(
    offenders(
      (file) => !file.startsWith('native/') && !allowed.has(file),
      (target) => target.startsWith('native/'),
    ),
    [],
  )
})

/** Where the outside world enters: everything else gets it handed in. */
const DOORS = [
  /^broker\/environment\.ts$/,
  /^broker\/(main|server|embedded|start-flags|run)\.ts$/,
  /^broker\/cli\//,
  /^broker\/observe\//,
  /^broker\/net\/tcp\.ts$/,
  /^broker\/shard\/shard-worker\.ts$/,
  /^broker\/shard\/messages\.ts$/,
  /^storage\/(native-disk|node-disk|open-disk)\.ts$/,
  /^native\//,
]

test('clocks, random numbers, files and sockets enter through the doors only', () => {
  const stray = /\b(Date\.now|Math\.random|performance\.now|process\.hrtime|setTimeout|setInterval|randomBytes)\(/
  const modules = /^node:(fs|fs\/promises|net|http|https|tls|dgram|child_process|crypto)$/
  const found = all
    .filter(({ file }) => !DOORS.some((door) => door.test(file)))
    .flatMap(({ file, text, imports }) => {
      const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
      const call = stray.exec(code)
      return [
        ...(call === null ? [] : [`${file} calls ${call[1]}`]),
        ...imports.filter((target) => modules.test(target)).map((target) => `${file} imports ${target}`),
      ]
    })
  assert.deepEqual(found, [])
})

test('every handler file of a served API is in the registry', () => {
  const registry = readFileSync(path.join(root, 'broker/handlers/registry.ts'), 'utf8')
  const missing = all
    .filter(({ file, text }) => /^broker\/handlers\/[a-z-]+\.ts$/.test(file) && /^export const \w+: Api</m.test(text))
    .map(({ file }) => `./${path.basename(file)}`)
    .filter((name) => !registry.includes(`'${name}'`))
  assert.deepEqual(missing, [])
})
