// Child processes, ports and temporary directories of the tests that need a real broker.
//
// Used by every test file that starts something; each file owns what it started and stops it in its `after` hook. What is
// still alive when the test process exits is killed there, so that an aborted run leaves no broker behind.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** Root of the repository. */
export const repositoryDirectory = fileURLToPath(new URL('../..', import.meta.url))
/** Downloaded and generated things that a clean machine can make again; git-ignored. */
export const cacheDirectory = join(repositoryDirectory, '.cache')

const live = new Set<ChildProcess>()
const directories = new Set<string>()

process.on('exit', () => {
  for (const child of live) child.kill('SIGKILL')
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

export interface ToolResult {
  code: number | null
  stdout: string
  stderr: string
}

/** A port nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('the system gave no port')
  return address.port
}

/** A fresh directory, removed when this process exits. */
export async function temporaryDirectory(name: string): Promise<string> {
  const base = process.env.MILLRACE_TEST_DIR ?? tmpdir()
  mkdirSync(base, { recursive: true })
  const directory = await mkdtemp(join(base, `millrace-${name}-`))
  directories.add(directory)
  return directory
}

export function removeDirectory(directory: string): void {
  directories.delete(directory)
  rmSync(directory, { recursive: true, force: true })
}

/** A child process whose output is gathered as text; lines can be waited for. */
export class Child {
  readonly process: ChildProcess
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  stdout = ''
  stderr = ''
  #ended = false
  readonly #watchers = new Set<() => void>()

  constructor(command: string, args: readonly string[], options: { env?: NodeJS.ProcessEnv; cwd?: string } = {}) {
    const child = spawn(command, args, { env: options.env ?? process.env, cwd: options.cwd, stdio: 'pipe' })
    this.process = child
    live.add(child)
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      this.#changed()
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.#changed()
    })
    child.stdin.on('error', () => {}) // a tool may exit before it has read all of its input
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.stderr += `${error.message}\n`
        live.delete(child)
        this.#ended = true
        this.#changed()
        resolve({ code: -1, signal: null })
      })
      child.once('close', (code, signal) => {
        live.delete(child)
        this.#ended = true
        this.#changed()
        resolve({ code, signal })
      })
    })
  }

  get pid(): number {
    return this.process.pid ?? -1
  }

  get running(): boolean {
    return !this.#ended
  }

  /** Resolves with the first match in stdout; rejects when the process ends or `timeoutMs` passes first. */
  waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(this.stdout)
        if (match) finish(() => resolve(match))
        else if (this.#ended) finish(() => reject(new Error(`the process ended early\n${this.stdout}\n${this.stderr}`)))
      }
      const finish = (answer: () => void) => {
        clearTimeout(timer)
        this.#watchers.delete(look)
        answer()
      }
      const timer = setTimeout(() => {
        finish(() => reject(new Error(`no ${pattern} within ${timeoutMs} ms\n${this.stdout}\n${this.stderr}`)))
      }, timeoutMs)
      this.#watchers.add(look)
      look()
    })
  }

  /** Calls with every line of stdout from now on, as it comes; what is behind the last line end is none. */
  eachLine(call: (line: string) => void): void {
    let rest = ''
    this.process.stdout?.on('data', (text: string) => {
      const lines = `${rest}${text}`.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) call(line)
    })
  }

  async stop(
    signal: NodeJS.Signals = 'SIGTERM',
    graceMs = 20_000,
  ): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    this.process.kill(signal)
    const timer = setTimeout(() => this.process.kill('SIGKILL'), graceMs)
    try {
      return await this.exited
    } finally {
      clearTimeout(timer)
    }
  }

  #changed(): void {
    for (const look of this.#watchers) look()
  }
}

/** Runs a program to its end. `timeoutMs` kills it and leaves code null. */
export async function run(
  command: string,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number; env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<ToolResult> {
  const child = new Child(command, args, options)
  child.process.stdin?.end(options.input ?? '')
  const timer = setTimeout(() => child.process.kill('SIGKILL'), options.timeoutMs ?? 120_000)
  const { code } = await child.exited
  clearTimeout(timer)
  return { code, stdout: child.stdout, stderr: child.stderr }
}

/** Whether a program can be started at all. */
export async function hasProgram(command: string, args: readonly string[]): Promise<boolean> {
  return (await run(command, args, { timeoutMs: 20_000 })).code === 0
}

/** Calls `probe` until it gives something other than undefined; what it throws counts as "not yet", and the last of it is told in the end. */
export async function eventually<T>(what: string, timeoutMs: number, probe: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + timeoutMs
  let last: unknown
  do {
    try {
      const value = await probe()
      if (value !== undefined) return value
      last = undefined
    } catch (error) {
      last = error
    }
    await sleep(50)
  } while (performance.now() < deadline)
  const why = last === undefined ? '' : `; at last ${last instanceof Error ? last.message : String(last)}`
  throw new Error(`${what}: not within ${timeoutMs} ms${why}`, { cause: last })
}
