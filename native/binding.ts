// The addon's functions as C++ exports them (src/addon.cc), and where the addon is found.
//
// Only index.ts and queue.ts use these: a wrong number here reaches the kernel. One binding per thread that loads it.

import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

/** Functions that can fail return a negative errno. */
export interface Binding {
  /** The open(2) flag for a file past the page cache. */
  readonly openDirect: number
  crc32c(bytes: Uint8Array, start: number, end: number, seed: number): number
  crc32cBy(method: string, bytes: Uint8Array, seed: number): number | undefined
  crc32cMethods(): string[]
  addressModulo(bytes: Uint8Array, divisor: number): number
  pinThread(core: number): number
  unpinThread(): void
  setThreadName(name: string): void
  allowedCores(): number[]
  openQueue(
    method: number,
    depth: number,
    threadsMax: number,
    completions: Int32Array,
    buffers: readonly unknown[],
    onCompleted: (count: number) => void,
  ): number
  closeQueue(queue: number): void
  ringFlags(queue: number): number
  enqueue(
    queue: number,
    operation: number,
    slot: number,
    fd: number,
    bytes: Uint8Array | undefined,
    position: number,
    size: number,
    flag: number,
  ): void
  openFile(queue: number, slot: number, path: string, flags: number, mode: number): void
  submit(queue: number): void
  statFile(fd: number, out: Float64Array): number
  lockFile(fd: number): number
  openBell(id: number, onRing: () => void): number
  closeBell(id: number): void
  ring(id: number): boolean
  watch(words: Int32Array, pendingIndex: number, sleepingIndex: number, onMail: (value: number) => void): number
  unwatch(id: number): void
  setSpin(micros: number): void
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, errno]) => [errno, name]))

/** The name of an errno (positive or negative): 'EIO', 'ENOSPC' ... */
export function errnoName(errno: number): string {
  return errnoNames.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`
}

/**
 * The package that carries the addon for this machine, named as @napi-rs/cli names it: linux-x64-gnu, linux-arm64-musl,
 * darwin-arm64. Undefined where none is built.
 */
export function platformTriple(): string | undefined {
  const { platform, arch } = process
  if (platform === 'darwin' && arch === 'arm64') return 'darwin-arm64'
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) return undefined
  // glibc reports its version, musl none. Without excludeNetwork (not in the types yet) the report looks up host names.
  const report = Object.assign(process.report, { excludeNetwork: true })
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
  return `linux-${arch}-${header.glibcVersionRuntime === undefined ? 'musl' : 'gnu'}`
}

const require = createRequire(import.meta.url)

function load(candidate: string): Binding | string | undefined {
  try {
    return require(candidate) as Binding
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    return code === 'MODULE_NOT_FOUND' ? undefined : `${candidate} cannot be loaded: ${message.split('\n')[0]}`
  }
}

/**
 * Finds and loads the addon: built here (native/build), else the prebuilt package for this platform.
 * MILLRACE_ADDON names another file, or 'off' for none.
 * @returns the addon, or why there is none, as half a sentence
 */
export function loadBinding(): Binding | string {
  const chosen = process.env.MILLRACE_ADDON
  if (chosen === 'off') return 'switched off by MILLRACE_ADDON'
  // This file is native/binding.ts in the repository and dist/native/binding.js in the package.
  const built = ['./build/millrace.node', '../../native/build/millrace.node']
  const paths = chosen ? [chosen] : built.map((path) => fileURLToPath(new URL(path, import.meta.url)))
  for (const path of paths) {
    const found = load(path)
    if (found !== undefined) return found
  }
  if (chosen) return `there is no ${chosen}, which MILLRACE_ADDON names`
  const triple = platformTriple()
  if (triple === undefined) {
    return `it is not built (make -C native), and there is no prebuilt one for ${process.platform}-${process.arch}`
  }
  const prebuilt = `@millrace/native-${triple}`
  return load(prebuilt) ?? `it is neither built (make -C native) nor installed (${prebuilt})`
}
