// What a simulated disk holds: files as histories of 512-byte sectors, directories as histories of names.
//
// Owned by disk.ts. Each sector keeps, besides its durable image, the images written since and not yet synced; each directory
// keeps its durable names and the changes nobody synced. A crash chooses among them; nothing else in the simulator does.

import type { SeededRandom } from './random.ts'

export const SECTOR_BYTES = 512
const ALLOCATION_BYTES = 4096

/** One unsynced image of a sector. */
interface Version {
  /** Which write or truncation of the file made it; grows. */
  readonly sequence: number
  /** undefined reads as zeros. */
  readonly image: Uint8Array | undefined
  /** Where the written bytes in this sector end, in the file; a surviving sector implies at least this size. */
  readonly end: number
  /** Made by cutting the file: it survives or not together with the cut. */
  readonly cut: boolean
}

/** One unsynced change of a file's size or reservation. */
interface SizeChange {
  readonly sequence: number
  readonly kind: 'write' | 'truncate' | 'extend' | 'reserve'
  readonly bytes: number
}

export class FileInode {
  readonly kind = 'file'
  sizeBytes = 0
  allocatedBytes = 0
  modifiedMs = 0
  sequence = 0
  #visible = new Map<number, Uint8Array>()
  #durable = new Map<number, Uint8Array>()
  #durableSizeBytes = 0
  #durableAllocatedBytes = 0
  #unsynced = new Map<number, Version[]>()
  #sizeChanges: SizeChange[] = []

  /** Bytes read, fewer than `into.length` only at the end. */
  read(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.sizeBytes - position))
    for (let at = position; at < position + length; ) {
      const sector = Math.floor(at / SECTOR_BYTES)
      const within = at - sector * SECTOR_BYTES
      const count = Math.min(SECTOR_BYTES - within, position + length - at)
      const image = this.#visible.get(sector)
      if (image === undefined) into.fill(0, at - position, at - position + count)
      else into.set(image.subarray(within, within + count), at - position)
      at += count
    }
    return length
  }

  /**
   * Makes bytes visible, not durable.
   * @param bytes kept by reference
   * @param lands which sectors take part; all when left out
   * @returns the sequence number of this write, for settleWrite
   */
  write(bytes: Uint8Array, position: number, lands?: (sector: number) => boolean): number {
    const sequence = ++this.sequence
    const end = position + bytes.length
    let landedEnd = 0
    for (let at = position; at < end; ) {
      const sector = Math.floor(at / SECTOR_BYTES)
      const within = at - sector * SECTOR_BYTES
      const count = Math.min(SECTOR_BYTES - within, end - at)
      if (lands === undefined || lands(sector)) {
        let image = bytes.subarray(at - position, at - position + count)
        if (count < SECTOR_BYTES) {
          const whole = new Uint8Array(SECTOR_BYTES)
          const before = this.#visible.get(sector)
          if (before !== undefined) whole.set(before)
          whole.set(image, within)
          image = whole
        }
        this.#visible.set(sector, image)
        this.#remember(sector, { sequence, image, end: at + count, cut: false })
        landedEnd = at + count
      }
      at += count
    }
    if (landedEnd > this.sizeBytes) this.sizeBytes = landedEnd
    if (landedEnd > 0) this.#sizeChanges.push({ sequence, kind: 'write', bytes: landedEnd })
    this.allocatedBytes = Math.max(this.allocatedBytes, roundUp(landedEnd))
    return sequence
  }

  truncate(sizeBytes: number): void {
    const sequence = ++this.sequence
    this.#sizeChanges.push({ sequence, kind: 'truncate', bytes: sizeBytes })
    const firstCut = Math.ceil(sizeBytes / SECTOR_BYTES)
    const within = sizeBytes % SECTOR_BYTES
    for (const sector of this.#sectors()) {
      if (sector >= firstCut) {
        this.#visible.delete(sector)
        this.#remember(sector, { sequence, image: undefined, end: 0, cut: true })
      } else if (within !== 0 && sector === firstCut - 1) {
        const image = new Uint8Array(SECTOR_BYTES)
        image.set((this.#visible.get(sector) ?? image).subarray(0, within))
        this.#visible.set(sector, image)
        this.#remember(sector, { sequence, image, end: 0, cut: true })
      }
    }
    this.sizeBytes = sizeBytes
    this.allocatedBytes = Math.min(this.allocatedBytes, roundUp(sizeBytes))
  }

  allocate(end: number, extend: boolean): void {
    const sequence = ++this.sequence
    this.#sizeChanges.push({ sequence, kind: extend ? 'extend' : 'reserve', bytes: end })
    if (extend) this.sizeBytes = Math.max(this.sizeBytes, end)
    this.allocatedBytes = Math.max(this.allocatedBytes, roundUp(end))
  }

  /** A sync that started when `sequence` was the newest change has succeeded. */
  settle(sequence: number): void {
    for (const sector of [...this.#unsynced.keys()]) this.#settleSector(sector, sequence)
    this.#settleSizes(sequence)
  }

  /** A durable write has succeeded: its own sectors, and the metadata needed to find them; no other write's bytes. */
  settleWrite(sequence: number, position: number, length: number): void {
    const last = Math.floor((position + length - 1) / SECTOR_BYTES)
    for (let sector = Math.floor(position / SECTOR_BYTES); sector <= last; sector += 1) {
      this.#settleSector(sector, sequence)
    }
    if (this.#sizeChanges.some((change) => change.kind !== 'write' && change.sequence <= sequence)) {
      for (const [sector, versions] of [...this.#unsynced]) {
        const cut = versions.findLast((version) => version.cut && version.sequence <= sequence)
        if (cut !== undefined) this.#settleSector(sector, cut.sequence)
      }
      this.#settleSizes(sequence)
    } else {
      this.#durableSizeBytes = Math.max(this.#durableSizeBytes, position + length)
      this.#durableAllocatedBytes = Math.max(this.#durableAllocatedBytes, roundUp(position + length))
    }
  }

  /**
   * A sync has failed: as in the kernel, the dirty pages count as clean from now on. Some had reached the disk, some still
   * show in the cache until it is dropped, none will be written again.
   */
  forgetDirty(sequence: number, random: SeededRandom): void {
    for (const [sector, versions] of [...this.#unsynced]) {
      const kept = versions.filter((version) => version.sequence > sequence)
      const last = versions.findLast((version) => version.sequence <= sequence)
      if (last === undefined) continue
      if (random.chance(0.3)) this.#store(this.#durable, sector, last.image)
      else if (kept.length === 0 && random.chance(0.5)) this.#store(this.#visible, sector, this.#durable.get(sector))
      if (kept.length === 0) this.#unsynced.delete(sector)
      else this.#unsynced.set(sector, kept)
    }
  }

  /** Turns one bit of what is stored, in cache and on disk alike. */
  flipBit(position: number, bit: number): void {
    const sector = Math.floor(position / SECTOR_BYTES)
    for (const images of [this.#visible, this.#durable]) {
      const image = new Uint8Array(SECTOR_BYTES)
      image.set(images.get(sector) ?? image)
      image[position % SECTOR_BYTES] = image[position % SECTOR_BYTES]! ^ (1 << bit)
      images.set(sector, image)
    }
  }

  /** Sectors that hold something and lie inside the file, in order. */
  writtenSectors(): number[] {
    const sectors = [...this.#visible.keys()].filter((sector) => sector * SECTOR_BYTES < this.sizeBytes)
    return sectors.sort((a, b) => a - b)
  }

  /** What is left after power loss: each unsynced write is lost, kept, or torn at sectors; size changes are kept in order. */
  afterCrash(random: SeededRandom): FileInode {
    const survives = new Map<number, (sector: number) => boolean>()
    const changes = this.#sizeChanges.filter((change) => change.kind !== 'write')
    const keptCount = random.below(changes.length + 1)
    const keptChanges = new Set(changes.slice(0, keptCount).map((change) => change.sequence))
    const left = new FileInode()
    let sizeBytes = this.#durableSizeBytes
    let allocatedBytes = this.#durableAllocatedBytes
    for (const change of this.#sizeChanges) {
      const kept = change.kind === 'write' ? random.chance(0.3) : keptChanges.has(change.sequence)
      if (!kept) continue
      if (change.kind === 'truncate') {
        sizeBytes = change.bytes
        allocatedBytes = Math.min(allocatedBytes, roundUp(change.bytes))
      } else {
        if (change.kind !== 'reserve') sizeBytes = Math.max(sizeBytes, change.bytes)
        allocatedBytes = Math.max(allocatedBytes, roundUp(change.bytes))
      }
    }
    for (const [sector, image] of this.#durable) left.#durable.set(sector, image)
    for (const sector of [...this.#unsynced.keys()].sort((a, b) => a - b)) {
      let end = 0
      for (const version of this.#unsynced.get(sector)!) {
        let lands = survives.get(version.sequence)
        if (lands === undefined) survives.set(version.sequence, (lands = tear(sector, random)))
        if (version.cut ? !keptChanges.has(version.sequence) : !lands(sector)) continue
        left.#store(left.#durable, sector, version.image)
        end = version.cut ? 0 : version.end
      }
      sizeBytes = Math.max(sizeBytes, end)
    }
    left.#visible = new Map(left.#durable)
    left.sizeBytes = left.#durableSizeBytes = sizeBytes
    left.allocatedBytes = left.#durableAllocatedBytes = Math.max(allocatedBytes, roundUp(sizeBytes))
    left.modifiedMs = this.modifiedMs
    return left
  }

  #sectors(): Set<number> {
    return new Set([...this.#visible.keys(), ...this.#durable.keys(), ...this.#unsynced.keys()])
  }

  #store(images: Map<number, Uint8Array>, sector: number, image: Uint8Array | undefined): void {
    if (image === undefined) images.delete(sector)
    else images.set(sector, image)
  }

  #remember(sector: number, version: Version): void {
    const versions = this.#unsynced.get(sector)
    if (versions === undefined) this.#unsynced.set(sector, [version])
    else versions.push(version)
  }

  #settleSector(sector: number, sequence: number): void {
    const versions = this.#unsynced.get(sector)
    if (versions === undefined) return
    const last = versions.findLastIndex((version) => version.sequence <= sequence)
    if (last < 0) return
    this.#store(this.#durable, sector, versions[last]!.image)
    if (last + 1 === versions.length) this.#unsynced.delete(sector)
    else versions.splice(0, last + 1)
  }

  #settleSizes(sequence: number): void {
    for (const change of this.#sizeChanges) {
      if (change.sequence > sequence) break
      if (change.kind === 'truncate') {
        this.#durableSizeBytes = change.bytes
        this.#durableAllocatedBytes = Math.min(this.#durableAllocatedBytes, roundUp(change.bytes))
        continue
      }
      if (change.kind !== 'reserve') this.#durableSizeBytes = Math.max(this.#durableSizeBytes, change.bytes)
      this.#durableAllocatedBytes = Math.max(this.#durableAllocatedBytes, roundUp(change.bytes))
    }
    this.#sizeChanges = this.#sizeChanges.filter((change) => change.sequence > sequence)
  }
}

/** How one unsynced write fares in a crash: lost, whole, cut at a sector (either side kept), or sector by sector. */
export function tear(firstSector: number, random: SeededRandom): (sector: number) => boolean {
  const cutSector = firstSector + 1 + random.below(random.pick([4, 16, 256]))
  switch (random.below(5)) {
    case 0:
      return () => false
    case 1:
      return () => true
    case 2:
      return (sector) => sector < cutSector
    case 3:
      return (sector) => sector >= cutSector
    default:
      return () => random.chance(0.5)
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / ALLOCATION_BYTES) * ALLOCATION_BYTES
}

export class DirectoryInode {
  readonly kind = 'directory'
  modifiedMs = 0
  /** What the running process sees. */
  names = new Map<string, Inode>()
  /** What a crash leaves for certain. */
  durableNames = new Map<string, Inode>()
}

export type Inode = FileInode | DirectoryInode

interface NameSlot {
  readonly directory: DirectoryInode
  readonly name: string
}

/** A creation (add), a removal (remove) or a rename (both, at once). */
interface NameChange {
  readonly sequence: number
  readonly remove: NameSlot | undefined
  readonly add: NameSlot | undefined
  readonly inode: Inode
}

/** All name changes of one file system that no directory sync has covered, oldest first. */
export class NameJournal {
  /** Of the newest change. */
  sequence = 0
  #changes: NameChange[] = []

  /** Carries the change out for the running process and remembers it as unsynced. */
  change(inode: Inode, remove: NameSlot | undefined, add: NameSlot | undefined): void {
    remove?.directory.names.delete(remove.name)
    add?.directory.names.set(add.name, inode)
    this.sequence += 1
    this.#changes.push({ sequence: this.sequence, remove, add, inode })
  }

  /** Makes durable what happened in a directory up to the change `sequence`. */
  sync(directory: DirectoryInode, sequence: number): void {
    const kept = this.#closure((change) => change.sequence <= sequence && touches(change, directory))
    this.#apply(kept)
    this.#changes = this.#changes.filter((change) => !kept.has(change))
  }

  /** Lets each unsynced change survive or not. */
  crash(random: SeededRandom): void {
    const mode = random.below(4)
    this.#apply(this.#closure(() => mode === 0 || (mode !== 1 && random.chance(0.5))))
    this.#changes = []
  }

  /** A change of a file's name keeps the earlier changes of that file, and earlier changes of the names it touches. */
  #closure(wanted: (change: NameChange) => boolean): Set<NameChange> {
    const kept = new Set<NameChange>()
    const inodes = new Set<Inode>()
    const slots = new Map<DirectoryInode, Set<string>>()
    for (let at = this.#changes.length - 1; at >= 0; at -= 1) {
      const change = this.#changes[at]!
      const touched = [change.remove, change.add].filter((slot) => slot !== undefined)
      const needed = inodes.has(change.inode) || touched.some((slot) => slots.get(slot.directory)?.has(slot.name))
      if (!needed && !wanted(change)) continue
      kept.add(change)
      inodes.add(change.inode)
      for (const slot of touched) {
        const names = slots.get(slot.directory)
        if (names === undefined) slots.set(slot.directory, new Set([slot.name]))
        else names.add(slot.name)
      }
    }
    return kept
  }

  #apply(kept: Set<NameChange>): void {
    for (const change of this.#changes) {
      if (!kept.has(change)) continue
      change.remove?.directory.durableNames.delete(change.remove.name)
      change.add?.directory.durableNames.set(change.add.name, change.inode)
    }
  }
}

function touches(change: NameChange, directory: DirectoryInode): boolean {
  return change.remove?.directory === directory || change.add?.directory === directory
}

/** The tree after power loss, from the durable names down. */
export function treeAfterCrash(directory: DirectoryInode, random: SeededRandom): DirectoryInode {
  const left = new DirectoryInode()
  left.modifiedMs = directory.modifiedMs
  for (const [name, inode] of [...directory.durableNames].sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
    const survivor = inode.kind === 'file' ? inode.afterCrash(random) : treeAfterCrash(inode, random)
    left.names.set(name, survivor)
    left.durableNames.set(name, survivor)
  }
  return left
}
