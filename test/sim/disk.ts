// A disk in memory that lies until it is synced, and forgets what was not synced when the power goes.
//
// Owned by a test or by the simulator, one per machine; runs on the test's thread. Same seed, same calls: same answers, same
// order of completions, same damage. No real time passes: operations complete in microtasks, or when the test calls pump().

import {
  BLOCK_BYTES,
  type DirectoryLock,
  type Disk,
  DiskError,
  type File,
  type FileStat,
  type FreeSpace,
  type OpenOptions,
} from '../../storage/disk.ts'
import { DirectoryInode, FileInode, type Inode, NameJournal, SECTOR_BYTES, tear, treeAfterCrash } from './inode.ts'
import { SeededRandom } from './random.ts'

export interface SimulatedDiskOptions {
  readonly seed: number
  /** Whether files can be opened direct; alignment is then enforced with EINVAL. Default true. */
  readonly direct?: boolean
  /** Space of the device; writes and reservations beyond it fail with ENOSPC. Default 1 TiB. */
  readonly capacityBytes?: number
  /** Directories that are there from the start, durably; '/' always is. */
  readonly directories?: readonly string[]
  /** 'auto': operations complete by themselves, in microtasks; 'manual': only through pump(). Default 'auto'. */
  readonly delivery?: 'auto' | 'manual'
  /** In 'auto': an operation completes after 1 to this many microtask turns, so larger shuffles more. Default 4. */
  readonly turnsMax?: number
  /** Power goes at the Nth operation submitted (1 is the first), which then never completes. */
  readonly crashAtOperation?: number
  /** Wall clock for modification times. Default: always 0. */
  readonly nowMs?: () => number
  /** Takes the place of 'delivery': the caller completes each operation when it sees fit. Ignored once the power has gone. */
  readonly deliver?: (operation: Operation, path: string, complete: () => void) => void
}

export type Operation =
  | 'open'
  | 'read'
  | 'write'
  | 'sync'
  | 'allocate'
  | 'truncate'
  | 'stat'
  | 'list'
  | 'makeDirectory'
  | 'rename'
  | 'remove'
  | 'removeDirectory'
  | 'syncDirectory'
  | 'close'

export interface Fault {
  readonly operation: Operation
  /** errno as a name: EIO, ENOSPC, EACCES ... */
  readonly code: string
  /** Only files whose path contains this. */
  readonly path?: string
  /** Lets this many matching operations pass first. Default 0. */
  readonly after?: number
  /** Fails this many of them, then heals. Default 1; Infinity never heals. */
  readonly count?: number
}

/**
 * What a full disk refuses: 'growth' is new files and directories, reservations, and writes beyond what is reserved; 'changes' also
 * writes into reserved space, cuts and renames, as on file systems that never write in place. Removing always works.
 */
export type Fullness = 'none' | 'growth' | 'changes'

interface Pending {
  readonly operation: Operation
  readonly path: string
  turns: number
  /** Takes effect and answers. */
  readonly complete: () => void
  /** Takes what effect it can while the power goes. */
  readonly interrupt: (() => void) | undefined
}

const CAPACITY_BYTES = 2 ** 40

export class SimulatedDisk implements Disk {
  readonly method = 'simulated'
  readonly direct: boolean
  /** Resolves when the power has gone, by crash() or crashAtOperation. */
  readonly whenCrashed: Promise<void>
  /** Operations submitted so far; crashAtOperation counts the same way. */
  operationCount = 0
  syncCount = 0
  durableWriteCount = 0
  writtenBytes = 0
  capacityBytes: number
  /** Refuses from now on, whatever capacityBytes says. A restart begins with 'none'. */
  fullness: Fullness = 'none'
  /** What a full disk says: ENOSPC, or EDQUOT where it is a quota that is spent. */
  fullCode = 'ENOSPC'
  crashAtOperation: number
  readonly random: SeededRandom
  readonly #options: SimulatedDiskOptions
  readonly #root: DirectoryInode
  readonly #names: NameJournal
  readonly #faults: { fault: Fault; after: number; count: number }[] = []
  readonly #locks = new Set<DirectoryInode>()
  #pending: Pending[] = []
  #scheduled = false
  #crashed = false
  #hangs: ((path: string, operation: Operation) => boolean) | undefined
  /** What would have completed, if the disk did not hang. */
  #held: Pending[] = []
  #tellCrashed: () => void

  constructor(options: SimulatedDiskOptions, root?: DirectoryInode, names = new NameJournal()) {
    this.#options = options
    this.direct = options.direct ?? true
    this.capacityBytes = options.capacityBytes ?? CAPACITY_BYTES
    this.crashAtOperation = options.crashAtOperation ?? Number.POSITIVE_INFINITY
    this.random = new SeededRandom(options.seed)
    this.#root = root ?? new DirectoryInode()
    this.#names = names
    const { promise, resolve } = Promise.withResolvers<void>()
    this.whenCrashed = promise
    this.#tellCrashed = resolve
    for (const path of options.directories ?? []) {
      let directory = this.#root
      for (const name of split(path)) {
        let next = directory.names.get(name)
        if (next === undefined) {
          next = new DirectoryInode()
          directory.names.set(name, next)
          directory.durableNames.set(name, next)
        }
        if (next.kind === 'file') throw new DiskError('ENOTDIR', 'makeDirectory', path)
        directory = next
      }
    }
  }

  get crashed(): boolean {
    return this.#crashed
  }

  /** Operations submitted and not answered, without those that hang. */
  get inFlightCount(): number {
    return this.#pending.length
  }

  /** Makes coming operations fail. */
  inject(fault: Fault): void {
    this.#faults.push({ fault, after: fault.after ?? 0, count: fault.count ?? 1 })
  }

  /** Ends all injected faults. */
  heal(): void {
    this.#faults.length = 0
  }

  /**
   * Operations neither complete nor fail from now on, until resume(). A crash takes them with all that is in flight.
   * @param choose those that do not; all when left out
   */
  hang(choose: (path: string, operation: Operation) => boolean = () => true): void {
    this.#hangs = choose
  }

  /** The disk answers again. */
  resume(): void {
    this.#hangs = undefined
    const held = this.#held
    this.#held = []
    for (const pending of held) pending.complete()
  }

  /** Completes one operation, chosen by the seed. @returns false when none is in flight */
  pump(): boolean {
    if (this.#crashed || this.#pending.length === 0) return false
    const [chosen] = this.#pending.splice(this.random.below(this.#pending.length), 1)
    this.#finish(chosen!)
    return true
  }

  /** Pumps, giving the answered code its turns in between, until nothing is in flight. */
  async settle(): Promise<void> {
    for (let idleTurns = 0; idleTurns < 20 && !this.#crashed; ) {
      if (this.pump()) idleTurns = 0
      else idleTurns += 1
      await undefined
    }
  }

  /** Cuts the power: nothing in flight is ever answered, nothing submitted from now on either. */
  crash(): void {
    if (this.#crashed) return
    this.#crashed = true
    for (const pending of this.random.shuffle([...this.#pending, ...this.#held])) pending.interrupt?.()
    this.#pending = []
    this.#held = []
    this.#names.crash(this.random)
    this.#tellCrashed()
  }

  /**
   * The disk as the machine finds it after crash().
   * @param options what to change for the new life; the seed follows from the old one when not given
   */
  restart(options: Partial<SimulatedDiskOptions> = {}): SimulatedDisk {
    if (!this.#crashed) this.crash()
    return new SimulatedDisk(
      {
        ...this.#options,
        capacityBytes: this.capacityBytes,
        seed: this.random.uint32(),
        crashAtOperation: Number.POSITIVE_INFINITY,
        ...options,
      },
      treeAfterCrash(this.#root, this.random),
    )
  }

  /**
   * The disk as the next process finds it when this one was killed: the machine still remembers what was written and not synced.
   * Nothing that was in flight is answered; some of it has happened.
   */
  reopen(options: Partial<SimulatedDiskOptions> = {}): SimulatedDisk {
    this.#crashed = true
    for (const pending of this.random.shuffle([...this.#pending, ...this.#held])) pending.interrupt?.()
    this.#pending = []
    this.#held = []
    this.#tellCrashed()
    return new SimulatedDisk(
      {
        ...this.#options,
        capacityBytes: this.capacityBytes,
        seed: this.random.uint32(),
        crashAtOperation: Number.POSITIVE_INFINITY,
        ...options,
      },
      this.#root,
      this.#names,
    )
  }

  /** Turns one bit of a stored file. */
  flipBit(path: string, position: number, bit = 0): void {
    const inode = this.#find(path)
    if (inode?.kind !== 'file') throw new DiskError('ENOENT', 'flipBit', path)
    inode.flipBit(position, bit)
  }

  /**
   * Lets stored bits rot, in cache and on disk alike: one bit in each of up to `count` places, chosen by the seed among the bytes that
   * were ever written.
   * @param choose the files that may be hit, by path; all when left out
   * @returns where, in the order it happened
   */
  rot(
    count: number,
    choose: (path: string) => boolean = () => true,
  ): { path: string; position: number; bit: number }[] {
    const files: { path: string; inode: FileInode; sectors: number[] }[] = []
    for (const path of this.paths()) {
      const inode = this.#find(path)
      if (!choose(path) || inode?.kind !== 'file') continue
      const sectors = inode.writtenSectors()
      if (sectors.length > 0) files.push({ path, inode, sectors })
    }
    const hits: { path: string; position: number; bit: number }[] = []
    for (; count > 0 && files.length > 0; count -= 1) {
      const { path, inode, sectors } = this.random.pick(files)
      const position = this.random.pick(sectors) * SECTOR_BYTES + this.random.below(SECTOR_BYTES)
      const bit = this.random.below(8)
      inode.flipBit(position, bit)
      hits.push({ path, position, bit })
    }
    return hits
  }

  /** The machine with a new, empty disk in place of this one, whose content is lost as a whole. */
  replaced(options: Partial<SimulatedDiskOptions> = {}): SimulatedDisk {
    this.crash()
    return new SimulatedDisk({
      ...this.#options,
      capacityBytes: this.capacityBytes,
      seed: this.random.uint32(),
      crashAtOperation: Number.POSITIVE_INFINITY,
      ...options,
    })
  }

  /** What a file shows to the running process, without an operation. */
  peek(path: string): Uint8Array | undefined {
    const inode = this.#find(path)
    if (inode?.kind !== 'file') return undefined
    const bytes = new Uint8Array(inode.sizeBytes)
    inode.read(bytes, 0)
    return bytes
  }

  /** Paths of all files, sorted. */
  paths(): string[] {
    const paths: string[] = []
    const walk = (directory: DirectoryInode, prefix: string): void => {
      for (const [name, inode] of directory.names) {
        if (inode.kind === 'file') paths.push(`${prefix}/${name}`)
        else walk(inode, `${prefix}/${name}`)
      }
    }
    walk(this.#root, '')
    return paths.sort()
  }

  open(path: string, options: OpenOptions): Promise<File> {
    return this.#submit('open', path, (): File => {
      const { directory, name } = this.#parent('open', path)
      let inode = directory.names.get(name)
      if (inode?.kind === 'directory') throw new DiskError('EISDIR', 'open', path)
      if (inode !== undefined && options.mode === 'create-new') throw new DiskError('EEXIST', 'open', path)
      if (inode === undefined) {
        if (options.mode === 'r' || options.mode === 'rw') throw new DiskError('ENOENT', 'open', path)
        this.#takeSpace('growth', 'open', path)
        inode = new FileInode()
        inode.modifiedMs = this.#nowMs()
        this.#names.change(inode, undefined, { directory, name })
      }
      return new SimulatedFile(this, this.#io, path, inode, options.direct && this.direct, options.mode === 'r')
    })
  }

  stat(path: string): Promise<FileStat | undefined> {
    return this.#submit('stat', path, () => {
      const inode = this.#find(path)
      return inode === undefined ? undefined : statOf(inode)
    })
  }

  list(path: string): Promise<string[]> {
    return this.#submit('list', path, () => {
      const inode = this.#find(path)
      if (inode === undefined) return []
      if (inode.kind === 'file') throw new DiskError('ENOTDIR', 'list', path)
      return this.random.shuffle([...inode.names.keys()])
    })
  }

  makeDirectory(path: string): Promise<void> {
    return this.#submit('makeDirectory', path, () => {
      let directory = this.#root
      for (const name of split(path)) {
        let next = directory.names.get(name)
        if (next === undefined) {
          this.#takeSpace('growth', 'makeDirectory', path)
          next = new DirectoryInode()
          next.modifiedMs = this.#nowMs()
          this.#names.change(next, undefined, { directory, name })
        }
        if (next.kind === 'file') throw new DiskError('ENOTDIR', 'makeDirectory', path)
        directory = next
      }
    })
  }

  rename(from: string, to: string): Promise<void> {
    const effect = (): void => {
      const source = this.#parent('rename', from)
      const target = this.#parent('rename', to)
      const inode = source.directory.names.get(source.name)
      if (inode === undefined) throw new DiskError('ENOENT', 'rename', from)
      this.#takeSpace('changes', 'rename', from)
      const replaced = target.directory.names.get(target.name)
      if (replaced === inode) return
      if (replaced?.kind === 'directory' && replaced.names.size > 0) throw new DiskError('ENOTEMPTY', 'rename', to)
      this.#names.change(inode, source, target)
    }
    return this.#submit('rename', from, effect, () => this.random.chance(0.5) && attempt(effect))
  }

  remove(path: string): Promise<void> {
    const effect = (): void => {
      const inode = this.#find(path)
      if (inode === undefined) return
      if (inode.kind === 'directory') throw new DiskError('EISDIR', 'remove', path)
      this.#names.change(inode, this.#parent('remove', path), undefined)
    }
    return this.#submit('remove', path, effect, () => this.random.chance(0.5) && attempt(effect))
  }

  removeDirectory(path: string): Promise<void> {
    const removeWithin = (directory: DirectoryInode): void => {
      for (const [name, inode] of [...directory.names]) {
        if (inode.kind === 'directory') removeWithin(inode)
        this.#names.change(inode, { directory, name }, undefined)
      }
    }
    return this.#submit('removeDirectory', path, () => {
      const inode = this.#find(path)
      if (inode === undefined) return
      if (inode.kind === 'file') throw new DiskError('ENOTDIR', 'removeDirectory', path)
      removeWithin(inode)
      this.#names.change(inode, this.#parent('removeDirectory', path), undefined)
    })
  }

  syncDirectory(path: string): Promise<void> {
    const covered = this.#names.sequence
    const inode = this.#find(path)
    return this.#submit('syncDirectory', path, () => {
      if (inode?.kind !== 'directory') throw new DiskError('ENOENT', 'syncDirectory', path)
      this.#names.sync(inode, covered)
    })
  }

  freeSpace(path: string): Promise<FreeSpace> {
    return this.#submit('stat', path, () => ({
      freeBytes: Math.max(0, this.capacityBytes - this.usedBytes()),
      totalBytes: this.capacityBytes,
    }))
  }

  lock(path: string): Promise<DirectoryLock | undefined> {
    return this.#submit('open', path, () => {
      const inode = this.#find(path)
      if (inode?.kind !== 'directory') throw new DiskError('ENOENT', 'lock', path)
      if (this.#locks.has(inode)) return undefined
      this.#locks.add(inode)
      return {
        release: () => {
          this.#locks.delete(inode)
          return Promise.resolve()
        },
      }
    })
  }

  close(): Promise<void> {
    return this.#submit('close', '/', () => undefined)
  }

  /** Bytes set aside for all files that have a name. */
  usedBytes(): number {
    const sum = (directory: DirectoryInode): number => {
      let bytes = 0
      for (const inode of directory.names.values()) bytes += inode.kind === 'file' ? inode.allocatedBytes : sum(inode)
      return bytes
    }
    return sum(this.#root)
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? 0
  }

  #find(path: string): Inode | undefined {
    let inode: Inode | undefined = this.#root
    for (const name of split(path)) {
      if (inode?.kind !== 'directory') return undefined
      inode = inode.names.get(name)
    }
    return inode
  }

  #parent(operation: string, path: string): { directory: DirectoryInode; name: string } {
    const names = split(path)
    const name = names.pop()
    const directory = this.#find(names.join('/'))
    if (name === undefined || directory?.kind !== 'directory') throw new DiskError('ENOENT', operation, path)
    return { directory, name }
  }

  /** What a SimulatedFile needs of its disk. */
  readonly #io: FileIo = {
    submit: (operation, path, effect, interrupt) => this.#submit(operation, path, effect, interrupt),
    nowMs: () => this.#nowMs(),
    takeSpace: (operation, path, moreBytes) => {
      this.#takeSpace('changes', operation, path)
      if (moreBytes <= 0) return
      this.#takeSpace('growth', operation, path)
      if (this.usedBytes() + moreBytes > this.capacityBytes) throw new DiskError(this.fullCode, operation, path)
    },
  }

  /** @throws DiskError when the disk is full in such a way that it refuses this */
  #takeSpace(kind: Exclude<Fullness, 'none'>, operation: Operation, path: string): void {
    const refuses = this.fullness === 'changes' || this.fullness === kind
    if (refuses) throw new DiskError(this.fullCode, operation, path)
  }

  /**
   * @param effect runs when the operation completes, with the fault injected into a write or sync; what it throws rejects
   * @param interrupt runs instead when the power goes first
   */
  #submit<T>(
    operation: Operation,
    path: string,
    effect: (fault: string | undefined) => T,
    interrupt?: () => void,
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    if (this.#crashed) return promise
    this.operationCount += 1
    const fault = this.#nextFault(operation, path)
    const complete = (): void => {
      try {
        const answer = effect(fault)
        if (fault === undefined) resolve(answer)
        else reject(new DiskError(fault, operation, path))
      } catch (error) {
        reject(error)
      }
    }
    const faulty = fault !== undefined && !FAULTS_WITH_EFFECT.has(operation)
    const pending: Pending = {
      operation,
      path,
      turns: 1 + this.random.below(this.#options.turnsMax ?? 4),
      complete: faulty ? () => reject(new DiskError(fault, operation, path)) : complete,
      interrupt: faulty ? undefined : interrupt,
    }
    this.#pending.push(pending)
    if (this.operationCount >= this.crashAtOperation) this.crash()
    else if (this.#options.deliver === undefined) this.#schedule()
    else this.#options.deliver(operation, path, () => this.#complete(pending))
    return promise
  }

  #complete(pending: Pending): void {
    const at = this.#pending.indexOf(pending)
    if (this.#crashed || at < 0) return
    this.#pending.splice(at, 1)
    this.#finish(pending)
  }

  #finish(pending: Pending): void {
    if (this.#hangs?.(pending.path, pending.operation)) this.#held.push(pending)
    else pending.complete()
  }

  #nextFault(operation: Operation, path: string): string | undefined {
    for (const entry of this.#faults) {
      if (entry.fault.operation !== operation || !path.includes(entry.fault.path ?? '')) continue
      if (entry.after > 0) {
        entry.after -= 1
      } else if (entry.count > 0) {
        entry.count -= 1
        return entry.fault.code
      }
    }
    return undefined
  }

  #schedule(): void {
    if (this.#scheduled || this.#options.delivery === 'manual') return
    this.#scheduled = true
    queueMicrotask(this.#turn)
  }

  readonly #turn = (): void => {
    this.#scheduled = false
    if (this.#crashed) return
    const due: Pending[] = []
    const rest: Pending[] = []
    for (const pending of this.#pending) {
      pending.turns -= 1
      if (pending.turns <= 0) due.push(pending)
      else rest.push(pending)
    }
    this.#pending = rest
    for (const pending of this.random.shuffle(due)) this.#finish(pending)
    if (this.#pending.length > 0) this.#schedule()
  }
}

/** Operations that leave traces although they fail. */
const FAULTS_WITH_EFFECT: ReadonlySet<Operation> = new Set(['write', 'sync'])

interface FileIo {
  submit<T>(
    operation: Operation,
    path: string,
    effect: (fault: string | undefined) => T,
    interrupt?: () => void,
  ): Promise<T>
  nowMs(): number
  /** @throws DiskError when the disk is full */
  takeSpace(operation: Operation, path: string, moreBytes: number): void
}

class SimulatedFile implements File {
  readonly path: string
  readonly direct: boolean
  readonly #disk: SimulatedDisk
  readonly #io: FileIo
  readonly #inode: FileInode
  readonly #readOnly: boolean
  #closed = false

  constructor(disk: SimulatedDisk, io: FileIo, path: string, inode: FileInode, direct: boolean, readOnly: boolean) {
    this.#disk = disk
    this.#io = io
    this.path = path
    this.direct = direct
    this.#inode = inode
    this.#readOnly = readOnly
  }

  read(into: Uint8Array, position: number): Promise<number> {
    const refused = this.#refusal(into, position, false)
    return this.#io.submit('read', this.path, () => {
      if (refused !== undefined) throw new DiskError(refused, 'read', this.path)
      return this.#inode.read(into, position)
    })
  }

  write(from: Uint8Array, position: number, durable: boolean): Promise<void> {
    const refused = this.#refusal(from, position, true)
    const bytes = new Uint8Array(from)
    const effect = (fault: string | undefined): void => {
      if (refused !== undefined) throw new DiskError(refused, 'write', this.path)
      if (!sameBytes(bytes, from))
        throw new Error(`write ${this.path}: the memory changed while the write was in flight`)
      const moreBytes = position + bytes.length - this.#inode.allocatedBytes
      try {
        this.#io.takeSpace('write', this.path, moreBytes)
      } catch (error) {
        // What there was space for may have been written.
        if (moreBytes <= 0) this.#tear(bytes, position)
        throw error
      }
      if (fault !== undefined) {
        this.#tear(bytes, position)
        return
      }
      const sequence = this.#inode.write(bytes, position)
      this.#inode.modifiedMs = this.#io.nowMs()
      this.#disk.writtenBytes += bytes.length
      if (!durable) return
      this.#disk.durableWriteCount += 1
      if (bytes.length > 0) this.#inode.settleWrite(sequence, position, bytes.length)
    }
    return this.#io.submit('write', this.path, effect, () => {
      if (refused === undefined) this.#tear(bytes, position)
    })
  }

  /** A write that failed or was cut off: some sectors, in no order. */
  #tear(bytes: Uint8Array, position: number): void {
    this.#inode.write(bytes, position, tear(Math.floor(position / SECTOR_BYTES), this.#disk.random))
  }

  sync(): Promise<void> {
    const covered = this.#inode.sequence
    return this.#io.submit('sync', this.path, (fault) => {
      if (this.#closed) throw new DiskError('EBADF', 'sync', this.path)
      if (fault !== undefined) {
        this.#inode.forgetDirty(covered, this.#disk.random)
        return
      }
      this.#disk.syncCount += 1
      this.#inode.settle(covered)
    })
  }

  allocate(position: number, length: number, how: 'keep-size' | 'extend'): Promise<void> {
    return this.#io.submit('allocate', this.path, () => {
      if (this.#closed || this.#readOnly) throw new DiskError('EBADF', 'allocate', this.path)
      const moreBytes = position + length - this.#inode.allocatedBytes
      if (moreBytes > 0) this.#io.takeSpace('allocate', this.path, moreBytes)
      this.#inode.allocate(position + length, how === 'extend')
    })
  }

  truncate(sizeBytes: number): Promise<void> {
    const effect = (): void => {
      if (this.#closed || this.#readOnly) throw new DiskError('EBADF', 'truncate', this.path)
      this.#io.takeSpace('truncate', this.path, 0)
      this.#inode.truncate(sizeBytes)
      this.#inode.modifiedMs = this.#io.nowMs()
    }
    return this.#io.submit('truncate', this.path, effect, () => this.#disk.random.chance(0.5) && attempt(effect))
  }

  stat(): Promise<FileStat> {
    return this.#io.submit('stat', this.path, () => statOf(this.#inode))
  }

  close(): Promise<void> {
    return this.#io.submit('close', this.path, () => {
      this.#closed = true
    })
  }

  #refusal(bytes: Uint8Array, position: number, writes: boolean): string | undefined {
    if (this.#closed || (writes && this.#readOnly)) return 'EBADF'
    if (!Number.isSafeInteger(position) || position < 0) return 'EINVAL'
    if (!this.direct) return undefined
    const aligned =
      position % BLOCK_BYTES === 0 && bytes.length % BLOCK_BYTES === 0 && bytes.byteOffset % BLOCK_BYTES === 0
    return aligned ? undefined : 'EINVAL'
  }
}

function statOf(inode: Inode): FileStat {
  const isDirectory = inode.kind === 'directory'
  return {
    sizeBytes: inode.kind === 'file' ? inode.sizeBytes : 0,
    allocatedBytes: inode.kind === 'file' ? inode.allocatedBytes : 0,
    modifiedMs: inode.modifiedMs,
    isDirectory,
    uid: 0,
  }
}

function split(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

function attempt(effect: () => void): void {
  try {
    effect()
  } catch {
    // The power went before the answer: an error that nobody hears.
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0
}
