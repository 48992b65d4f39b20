// `npm test`: runs the test files with node:test. Started by the npm script, after setup.sh.
//
//   npm test                      everything that needs nothing but this repository and takes seconds
//   npm test -- --slow            the others: Java and librdkafka clients, the packed package, long fuzzing
//   npm test -- test/unit/raft    what lies at or under these paths, slow or not

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'

const root = path.join(import.meta.dirname, '..')

/** Minutes rather than seconds, a Java or Python installation, or the npm registry. */
const slow = [
  'test/clients/interchange.test.ts',
  'test/clients/java-tools.test.ts',
  'test/clients/librdkafka.test.ts',
  'test/cluster/pack.test.ts',
]

const isSlow = (file: string) => slow.includes(file) || file.endsWith('.slow.test.ts')
const files = readdirSync(path.join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => path.posix.join('test', name))
  .sort()

const args = process.argv.slice(2)
const paths = args.filter((arg) => !arg.startsWith('--')).map((arg) => path.normalize(arg).replace(/\/$/, ''))
const flags = args.filter((arg) => arg.startsWith('--') && arg !== '--slow')
const wanted =
  paths.length > 0
    ? files.filter((file) => paths.some((at) => file === at || file.startsWith(`${at}/`)))
    : files.filter((file) => isSlow(file) === args.includes('--slow'))
if (wanted.length === 0) {
  console.error(`no test files at ${paths.join(', ')}`)
  process.exit(1)
}
const { status } = spawnSync(process.execPath, ['--test', '--test-concurrency=2', ...flags, ...wanted], {
  cwd: root,
  stdio: 'inherit',
})
process.exit(status ?? 1)
