// librdkafka, through confluent-kafka of PyPI in a virtual environment under .cache/venv (git-ignored).
//
// librdkafka.py beside this file does one job per run and prints one JSON object.

import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child, cacheDirectory, repositoryDirectory, run, type ToolResult } from './process.ts'

const packageVersion = '2.16.1'
const environmentDirectory = join(cacheDirectory, `venv-${packageVersion}`)
const python = join(environmentDirectory, 'bin/python')
const script = join(repositoryDirectory, 'test/support/librdkafka.py')

/** Why librdkafka cannot be run here, or undefined; an error with MILLRACE_REQUIRE_CLIENTS=1. */
export function librdkafkaUnavailable(): string | undefined {
  if (existsSync(join(environmentDirectory, 'ready'))) return undefined
  const reason = 'librdkafka is missing: node test/support/setup.ts'
  if (process.env.MILLRACE_REQUIRE_CLIENTS === '1') throw new Error(reason)
  return reason
}

/** Makes the virtual environment unless it is there. @throws Error with the last lines of what failed */
export async function installLibrdkafka(): Promise<void> {
  if (existsSync(join(environmentDirectory, 'ready'))) return
  rmSync(environmentDirectory, { recursive: true, force: true })
  const steps: [string, string[]][] = [
    ['python3', ['-m', 'venv', environmentDirectory]],
    [python, ['-m', 'pip', 'install', '--quiet', `confluent-kafka==${packageVersion}`]],
    [python, ['-c', 'import confluent_kafka']],
  ]
  for (const [program, args] of steps) {
    const result: ToolResult = await run(program, args, { timeoutMs: 300_000 })
    if (result.code !== 0) {
      throw new Error(`${program} ${args.join(' ')} failed\n${(result.stdout + result.stderr).slice(-2000)}`)
    }
  }
  // Written last, so that an interrupted install is made anew.
  writeFileSync(join(environmentDirectory, 'ready'), '')
}

/** A running librdkafka.py. */
export function startLibrdkafka(args: readonly string[]): Child {
  return new Child(python, ['-u', script, ...args])
}

/** Runs librdkafka.py to its end and gives the JSON it printed. */
export async function librdkafka<T>(
  args: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<T> {
  const result = await run(python, [script, ...args], options)
  if (result.code !== 0)
    throw new Error(`librdkafka ${args[0]}: exit ${result.code}\n${result.stdout}\n${result.stderr}`)
  return JSON.parse(result.stdout) as T
}
