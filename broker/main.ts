// Process entry: flags, shards, signals, nothing else.
//
//   node broker/main.ts --port N --host H --data-dir DIR --shards N --memory SIZE --config FILE --set name=value --metrics-port N

import { parseArgs } from 'node:util'
import { useCompileCache } from './compile-cache.ts'
import { complain } from './complain.ts'
import type { StartFlags } from './start-flags.ts'

async function main(): Promise<void> {
  useCompileCache()
  const [{ START_FLAGS }, { runBroker }] = await Promise.all([import('./start-flags.ts'), import('./run.ts')])
  const { values } = parseArgs({ args: process.argv.slice(2), options: START_FLAGS, strict: true })
  await runBroker(values as StartFlags)
}

main().catch((error: unknown) => {
  complain(error)
  process.exit(1)
})
