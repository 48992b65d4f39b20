// Pinning and names of threads, and where the addon is looked for.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { errnoName, platformTriple } from '../../../native/binding.ts'
import { loadNative } from '../../../native/index.ts'

const native = loadNative()
const skip =
  native === undefined ? 'the addon is not built' : process.platform !== 'linux' && 'cores are a matter of Linux here'
const index = new URL('../../../native/index.ts', import.meta.url).href

test('a worker can be tied to each core of the process, and to no other', { skip }, async () => {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
    const { readFileSync } = require('node:fs')
    import(${JSON.stringify(index)}).then(({ loadNative }) => {
      const native = loadNative()
      native.setThreadName('millrace-shard-number-1')
      const allowed = () => /Cpus_allowed_list:\\s*(\\S+)/.exec(readFileSync('/proc/thread-self/status', 'utf8'))[1]
      const before = allowed()
      const cores = native.allowedCores().map((core) => [native.pinThread(core), allowed(), String(core)])
      native.unpinThread()
      parentPort.postMessage({
        cores, before, after: allowed(), name: readFileSync('/proc/thread-self/comm', 'utf8').trim(),
        refused: [native.pinThread(-1), native.pinThread(100000)],
      })
    })`,
    { eval: true },
  )
  const seen = await new Promise<{
    cores: [boolean, string, string][]
    before: string
    after: string
    name: string
    refused: boolean[]
  }>((resolve, reject) => worker.once('message', resolve).once('error', reject))
  assert.ok(seen.cores.length > 0)
  for (const [done, allowed, core] of seen.cores) {
    assert.ok(done)
    assert.equal(allowed, core)
  }
  assert.equal(seen.after, seen.before)
  assert.equal(seen.name, 'millrace-shard-')
  assert.deepEqual(seen.refused, [false, false])
})

test('an errno has its name', () => {
  assert.equal(errnoName(-constants.errno.ENOSPC), 'ENOSPC')
  assert.equal(errnoName(constants.errno.EIO), 'EIO')
  assert.equal(errnoName(99_999), 'errno 99999')
})

test('this machine has a package name that the packaging knows, or none', () => {
  const { targets } = JSON.parse(readFileSync(new URL('../../../native/napi.json', import.meta.url), 'utf8')) as {
    targets: string[]
  }
  const known = new Map([
    ['x86_64-unknown-linux-gnu', 'linux-x64-gnu'],
    ['x86_64-unknown-linux-musl', 'linux-x64-musl'],
    ['aarch64-unknown-linux-gnu', 'linux-arm64-gnu'],
    ['aarch64-unknown-linux-musl', 'linux-arm64-musl'],
    ['aarch64-apple-darwin', 'darwin-arm64'],
  ])
  assert.deepEqual(new Set(targets), new Set(known.keys()))
  const triple = platformTriple()
  assert.ok(triple === undefined || [...known.values()].includes(triple), String(triple))
})

test('without the addon the reason is given, and nothing is thrown', () => {
  const reasonWith = (addon: string) => {
    const code = `import { loadNative, nativeMissingReason } from ${JSON.stringify(index)}
      console.log(loadNative() === undefined, nativeMissingReason())`
    const env = { ...process.env, MILLRACE_ADDON: addon }
    return spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8', env }).stdout.trim()
  }
  assert.equal(reasonWith('off'), 'true switched off by MILLRACE_ADDON')
  assert.equal(reasonWith('/none.node'), 'true there is no /none.node, which MILLRACE_ADDON names')
})
