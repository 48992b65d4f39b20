// Millrace as a child process: start, wait until it listens, kill it, start it again on the same data and port.
//
// Owned by the test that started it. The child runs the pinned Node of this repository from the sources.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  Child,
  freePort,
  removeDirectory,
  repositoryDirectory,
  run,
  type ToolResult,
  temporaryDirectory,
} from './process.ts'

export interface MillraceOptions {
  port?: number
  /** Where clients connect; 127.0.0.1 by default. */
  host?: string
  /** By default a temporary directory, removed by `close`. */
  dataDir?: string
  shards?: number
  /** As `--memory` takes it, such as 256m. */
  memory?: string
  /** Kafka properties, each given as `--set name=value`. */
  properties?: Readonly<Record<string, string>>
  readyTimeoutMs?: number
  env?: NodeJS.ProcessEnv
  extraArguments?: readonly string[]
  /** A program and its arguments that runs the broker's command line, such as `ip netns exec NAME`. */
  wrapper?: readonly string[]
}

const pinnedNode = join(repositoryDirectory, 'node_modules/.bin/node')

/** The Node that runs the broker: the pinned one where it is installed, else the one running the tests. */
export const nodeProgram = existsSync(pinnedNode) ? pinnedNode : process.execPath

/** The millrace command, for `nodeProgram`. */
export const commandFile = join(repositoryDirectory, 'broker/cli/main.ts')

/** Runs the millrace command to its end. */
export function millrace(args: readonly string[], options: Parameters<typeof run>[2] = {}): Promise<ToolResult> {
  return run(nodeProgram, [commandFile, ...args], { timeoutMs: 60_000, ...options })
}

/** Starts a broker process without waiting for anything; for runs that are expected to refuse. */
export function spawnMillrace(port: number, dataDir: string, options: MillraceOptions = {}): Child {
  const args = [join(repositoryDirectory, 'broker/main.ts'), '--port', String(port), '--data-dir', dataDir]
  if (options.shards !== undefined) args.push('--shards', String(options.shards))
  if (options.memory !== undefined) args.push('--memory', options.memory)
  args.push('--metrics-port', '0')
  for (const [name, value] of Object.entries(options.properties ?? {})) args.push('--set', `${name}=${value}`)
  if (options.host !== undefined) args.push('--host', options.host)
  args.push(...(options.extraArguments ?? []))
  const [program = nodeProgram, ...before] = [...(options.wrapper ?? []), nodeProgram]
  return new Child(program, [...before, ...args], { cwd: repositoryDirectory, env: options.env })
}

/** A running Millrace. */
export class MillraceBroker {
  readonly port: number
  readonly dataDir: string
  child: Child
  /** Milliseconds from spawn to the ready line, of the latest start. */
  readyMs = 0
  readonly #options: MillraceOptions
  readonly #ownDirectory: boolean

  private constructor(port: number, dataDir: string, options: MillraceOptions) {
    this.port = port
    this.dataDir = dataDir
    this.#options = options
    this.#ownDirectory = options.dataDir === undefined
    this.child = spawnMillrace(port, dataDir, options)
  }

  static async start(options: MillraceOptions = {}): Promise<MillraceBroker> {
    const port = options.port ?? (await freePort())
    const dataDir = options.dataDir ?? (await temporaryDirectory('broker'))
    const startedAt = performance.now()
    const broker = new MillraceBroker(port, dataDir, options)
    await broker.#ready(startedAt)
    return broker
  }

  get bootstrap(): string {
    return `${this.host}:${this.port}`
  }

  get host(): string {
    return this.#options.host ?? '127.0.0.1'
  }

  get pid(): number {
    return this.child.pid
  }

  async #ready(startedAt: number): Promise<void> {
    try {
      await this.child.waitFor(new RegExp(`listening on .*:${this.port}\\b`), this.#options.readyTimeoutMs ?? 30_000)
    } catch (error) {
      await this.child.stop('SIGKILL')
      throw error
    }
    this.readyMs = performance.now() - startedAt
  }

  /** `kill -9`; resolves when the process is gone. */
  async kill(): Promise<void> {
    await this.child.stop('SIGKILL')
  }

  /** Starts again on the same data directory and port, optionally with other options. */
  async restart(changes: Partial<MillraceOptions> = {}): Promise<void> {
    if (this.child.running) throw new Error('the broker is still running')
    const startedAt = performance.now()
    this.child = spawnMillrace(this.port, this.dataDir, { ...this.#options, ...changes })
    await this.#ready(startedAt)
  }

  /** SIGTERM; gives the exit code and how long it took. */
  async terminate(): Promise<{ code: number | null; tookMs: number }> {
    const startedAt = performance.now()
    const { code } = await this.child.stop('SIGTERM')
    return { code, tookMs: performance.now() - startedAt }
  }

  async close(): Promise<void> {
    if (this.child.running) await this.child.stop('SIGTERM', 5000)
    if (this.#ownDirectory) removeDirectory(this.dataDir)
  }
}
