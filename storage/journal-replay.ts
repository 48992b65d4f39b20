// Reading the journal back: which files make up the chain, where it ends, whether the end is a torn tail or damage.
//
// Runs once per shard at open, on its thread, before anything is written. The rules are in README.md, "Replay".

import type { Arena } from './arena.ts'
import { StorageCorruption } from './corruption.ts'
import { BLOCK_BYTES, type Disk, type File } from './disk.ts'
import {
  alignUp,
  BLOCK_HEADER_BYTES,
  type BlockHeader,
  bodyMatches,
  RECORD_HEADER_BYTES,
  type RecordHeader,
  readBlockHeader,
  readRecordHeader,
  recordBytes,
} from './journal-format.ts'
import type { JournalFile, RingState } from './journal-ring.ts'

/**
 * How far behind the end of the chain, and into files without a first block, acknowledged blocks are looked for: further
 * than the rounds reach that can be in flight at once.
 */
const EVIDENCE_BYTES = 6 << 20
const RESTORE_ADVICE =
  'Acknowledged records are lost if the journal is cut here: restore the data directory from a replica or a backup, or move the journal away to go on with what the segments hold.'

export interface ReplayOptions {
  readonly disk: Disk
  readonly directory: string
  readonly arena: Arena
  /** Bytes read at once. */
  readonly windowBytes: number
  log(level: 'info' | 'warn', message: string): void
  /**
   * Called for every record, in order. Memory from `payloadAt` on stays as it is for whoever retains the run.
   * @param sequence of the record's block
   */
  visit(record: RecordHeader, payloadAt: number, runAt: number, sequence: number, path: string): void
}

interface Tip {
  sequence: number
  crc: number
}

interface Window {
  at: number
  position: number
  bytes: number
}

export async function replayJournal(options: ReplayOptions): Promise<RingState> {
  const { disk, directory } = options
  const files = await openFiles(options)
  const newestFirst = files.filter((file) => file.firstSequence >= 0).sort((a, b) => b.firstSequence - a.firstSequence)
  const { arena } = options
  let replayFrom = -1
  // The newest file says where to begin, in its last block; it is read for that first, and kept so as not to be read twice.
  let newest: { file: JournalFile; blocks: KeptBlock[]; end: number } | undefined
  for (const file of newestFirst) {
    const blocks: KeptBlock[] = []
    const { end } = await walkFile(options, file, undefined, (header, at, runAt) => {
      arena.retain(runAt)
      blocks.push({ header, at, runAt })
      replayFrom = header.replayFrom
    })
    if (blocks.length === 0) continue
    newest = { file, blocks, end }
    break
  }
  const live: JournalFile[] = []
  let tip: Tip = { sequence: 0, crc: 0 }
  let end = 0
  let session = 0
  if (replayFrom >= 0) {
    let next = newestFirst.find((file) => file.firstSequence === replayFrom)
    if (next === undefined) {
      throw new StorageCorruption(
        `the journal file that starts with block ${replayFrom} is missing`,
        directory,
        -1,
        RESTORE_ADVICE,
      )
    }
    let before: Tip | undefined
    while (next !== undefined) {
      const file: JournalFile = next
      const visit = (header: BlockHeader, at: number, runAt: number): void => {
        session = Math.max(session, header.session)
        visitRecords(options, header, at, runAt, file.path)
      }
      const walked =
        newest?.file === file ? visitKept(newest, before, visit) : await walkFile(options, file, before, visit)
      if (walked.tip === undefined) break
      live.push(file)
      before = walked.tip
      end = walked.end
      next = newestFirst.find((other) => other.firstSequence === walked.tip!.sequence + 1 && !live.includes(other))
    }
    tip = before ?? tip
  }
  if (newest !== undefined) for (const block of newest.blocks) arena.release(block.runAt)
  const last = live.at(-1)
  await refuseDamage(options, files, live, last, end, tip.sequence)
  const free = files.filter((file) => !live.includes(file))
  for (const file of free) {
    // Begun, but the block before its first one never arrived: it must not look like the newest file once that sequence
    // has been given to another block.
    if (file.firstSequence > tip.sequence) await writeZeroBlock(options, file)
    file.firstSequence = -1
    file.position = 0
  }
  if (last !== undefined) last.position = end
  // What was read may have come from a volatile cache: it counts as durable from here on.
  await Promise.all(live.map((file) => file.file.sync()))
  let nextSlot = 0
  for (const file of files) nextSlot = Math.max(nextSlot, file.slot + 1)
  if (live.length > 0) {
    options.log('info', `journal ${directory}: ${live.length} files replayed, last block ${tip.sequence}`)
  }
  await disk.syncDirectory(directory)
  return { live, free, lastSequence: tip.sequence, lastCrc: tip.crc, session: session + 1, nextSlot }
}

interface KeptBlock {
  readonly header: BlockHeader
  readonly at: number
  readonly runAt: number
}

/** walkFile() over blocks that are in memory already. */
function visitKept(
  kept: { blocks: readonly KeptBlock[]; end: number },
  before: Tip | undefined,
  visit: (header: BlockHeader, at: number, runAt: number) => void,
): { tip: Tip | undefined; end: number } {
  const first = kept.blocks[0]!.header
  if (before !== undefined && (first.sequence !== before.sequence + 1 || first.previousCrc !== before.crc)) {
    return { tip: undefined, end: 0 }
  }
  for (const { header, at, runAt } of kept.blocks) visit(header, at, runAt)
  const last = kept.blocks.at(-1)!.header
  return { tip: { sequence: last.sequence, crc: last.headerCrc }, end: kept.end }
}

async function openFiles(options: ReplayOptions): Promise<JournalFile[]> {
  const { disk, directory, arena } = options
  const files: JournalFile[] = []
  for (const name of await disk.list(directory)) {
    const match = /^journal-(\d+)\.mj$/.exec(name)
    if (match === null) continue
    const path = `${directory}/${name}`
    const file = await disk.open(path, { mode: 'rw', direct: true })
    const { sizeBytes } = await file.stat()
    const capacityBytes = sizeBytes - (sizeBytes % BLOCK_BYTES)
    files.push({ slot: Number(match[1]), path, file, capacityBytes, firstSequence: -1, position: 0 })
  }
  const at = allocate(options, BLOCK_BYTES)
  for (const file of files) {
    if (file.capacityBytes === 0) continue
    const count = await file.file.read(arena.view(at, BLOCK_BYTES), 0)
    const header = count < BLOCK_BYTES ? 'no block' : readBlockHeader(arena.view32, arena.bytes, at)
    if (header === 'newer format') throw newerFormat(file.path, 0)
    if (header !== 'no block') file.firstSequence = header.sequence
  }
  arena.release(at)
  return files.sort((a, b) => a.slot - b.slot)
}

/**
 * Follows the chain of blocks through one file.
 * @param before the block the first one must follow; undefined: any first block will do
 * @returns the last block that belongs to the chain, undefined when there is none, and the position after it
 */
async function walkFile(
  options: ReplayOptions,
  file: JournalFile,
  before: Tip | undefined,
  visit: (header: BlockHeader, at: number, runAt: number) => void,
): Promise<{ tip: Tip | undefined; end: number }> {
  const { arena } = options
  let tip = before
  let found: Tip | undefined
  let position = 0
  let window: Window | undefined
  let coming: Promise<Window> | undefined
  try {
    while (position + BLOCK_BYTES <= file.capacityBytes) {
      if (window === undefined || position >= window.position + window.bytes) {
        if (window !== undefined) arena.release(window.at)
        window = undefined
        window = await (coming ?? readWindow(options, file, position, options.windowBytes))
        coming = undefined
        if (window.position !== position || window.bytes < BLOCK_BYTES) break
        const next = endOfBlocks(arena, window)
        // The next window is read while this one is worked through.
        if (next > position && next + BLOCK_BYTES <= file.capacityBytes && window.bytes >= options.windowBytes) {
          coming = readWindow(options, file, next, options.windowBytes)
          coming.catch(() => undefined)
        }
      }
      const at = window.at + (position - window.position)
      const header = readBlockHeader(arena.view32, arena.bytes, at)
      if (header === 'newer format') throw newerFormat(file.path, position)
      if (header === 'no block') break
      if (tip !== undefined && (header.sequence !== tip.sequence + 1 || header.previousCrc !== tip.crc)) break
      if (!lengthsFit(header) || position + header.blockBytes > file.capacityBytes) break
      if (position + header.blockBytes > window.position + window.bytes) {
        // The block goes on behind the window: read again from its start, as much as it takes.
        arena.release(window.at)
        window = undefined
        const ready: Window | undefined = coming === undefined ? undefined : await coming
        coming = undefined
        if (ready !== undefined && ready.position === position && header.blockBytes <= ready.bytes) {
          window = ready
          const next = endOfBlocks(arena, window)
          if (next > position && next + BLOCK_BYTES <= file.capacityBytes && window.bytes >= options.windowBytes) {
            coming = readWindow(options, file, next, options.windowBytes)
            coming.catch(() => undefined)
          }
        } else {
          if (ready !== undefined) arena.release(ready.at)
          window = await readWindow(options, file, position, Math.max(options.windowBytes, header.blockBytes))
          if (position + header.blockBytes > window.position + window.bytes) break
        }
        continue
      }
      if (!bodyMatches(arena.bytes, at, header)) break
      visit(header, at, window.at)
      tip = { sequence: header.sequence, crc: header.headerCrc }
      found = tip
      position += header.blockBytes
    }
  } finally {
    if (window !== undefined) arena.release(window.at)
    if (coming !== undefined) {
      const unused = await coming.catch(() => undefined)
      if (unused !== undefined) arena.release(unused.at)
    }
  }
  return { tip: found, end: position }
}

function lengthsFit(header: BlockHeader): boolean {
  return (
    header.blockBytes % BLOCK_BYTES === 0 &&
    header.usedBytes >= BLOCK_HEADER_BYTES &&
    header.usedBytes <= header.blockBytes &&
    header.blockBytes - header.usedBytes < BLOCK_BYTES
  )
}

/** Position in the file after the last block that lies whole in the window, by headers alone. */
function endOfBlocks(arena: Arena, window: Window): number {
  let offset = 0
  while (offset + BLOCK_BYTES <= window.bytes) {
    const header = readBlockHeader(arena.view32, arena.bytes, window.at + offset)
    if (typeof header === 'string' || !lengthsFit(header) || offset + header.blockBytes > window.bytes) break
    offset += header.blockBytes
  }
  return window.position + offset
}

async function readWindow(options: ReplayOptions, file: JournalFile, position: number, bytes: number): Promise<Window> {
  const length = Math.min(alignUp(bytes, BLOCK_BYTES), file.capacityBytes - position)
  const at = allocate(options, length)
  try {
    const count = await readFully(file.file, options.arena, at, length, position)
    return { at, position, bytes: count - (count % BLOCK_BYTES) }
  } catch (error) {
    options.arena.release(at)
    throw error
  }
}

async function readFully(file: File, arena: Arena, at: number, length: number, position: number): Promise<number> {
  let done = 0
  while (done < length) {
    const count = await file.read(arena.view(at + done, length - done), position + done)
    done += count
    // Only the end of the file may leave a read short of whole blocks.
    if (count === 0 || done % BLOCK_BYTES !== 0) break
  }
  return done
}

function allocate(options: ReplayOptions, bytes: number): number {
  const at = options.arena.alloc(bytes, 'journal')
  if (at < 0) {
    throw new StorageCorruption(
      `replay needs ${bytes} bytes more memory than there are`,
      options.directory,
      -1,
      'Start with more memory, or with fewer shards.',
    )
  }
  return at
}

const record: RecordHeader = {
  type: 0,
  flags: 0,
  kind: 0,
  payloadBytes: 0,
  groupId: 0,
  term: 0,
  index: 0,
  commitIndex: 0,
}

function visitRecords(options: ReplayOptions, header: BlockHeader, at: number, runAt: number, path: string): void {
  const { arena } = options
  let offset = BLOCK_HEADER_BYTES
  for (let count = 0; count < header.recordCount; count++) {
    if (offset + RECORD_HEADER_BYTES > header.usedBytes) throw badRecord(path, header.sequence)
    readRecordHeader(arena.view32, at + offset, record)
    const size = recordBytes(record.payloadBytes)
    if (offset + size > header.usedBytes) throw badRecord(path, header.sequence)
    options.visit(record, at + offset + RECORD_HEADER_BYTES, runAt, header.sequence, path)
    offset += size
  }
}

/** An acknowledged block that is gone has later blocks that say it was acknowledged; a torn tail has none. */
async function refuseDamage(
  options: ReplayOptions,
  files: readonly JournalFile[],
  live: readonly JournalFile[],
  last: JournalFile | undefined,
  end: number,
  lastSequence: number,
): Promise<void> {
  const look = async (file: JournalFile): Promise<void> => {
    if (live.includes(file) && file !== last) return
    const from = file === last ? end : 0
    // A free file that starts before the end of the chain is an older one: its first block says all there is to say.
    const isOlder = file.firstSequence >= 0 && file.firstSequence <= lastSequence
    const length = file === last || !isOlder ? EVIDENCE_BYTES : BLOCK_BYTES
    let position = from
    while (position < Math.min(file.capacityBytes, from + length)) {
      const window = await readWindow(options, file, position, Math.min(options.windowBytes, from + length - position))
      try {
        for (let offset = 0; offset + BLOCK_BYTES <= window.bytes; offset += BLOCK_BYTES) {
          const header = readBlockHeader(options.arena.view32, options.arena.bytes, window.at + offset)
          if (typeof header === 'string' || header.durableThrough <= lastSequence) continue
          throw new StorageCorruption(
            `block ${lastSequence + 1} of the journal is damaged or missing, but block ${header.sequence} says that it was durable`,
            last?.path ?? file.path,
            end,
            RESTORE_ADVICE,
          )
        }
        if (window.bytes === 0) break
        position += window.bytes
      } finally {
        options.arena.release(window.at)
      }
    }
  }
  await Promise.all(files.map(look))
}

async function writeZeroBlock(options: ReplayOptions, file: JournalFile): Promise<void> {
  const at = allocate(options, BLOCK_BYTES)
  const view = options.arena.view(at, BLOCK_BYTES)
  view.fill(0)
  try {
    await file.file.write(view, 0, true)
  } finally {
    options.arena.release(at)
  }
}

function newerFormat(path: string, position: number): StorageCorruption {
  return new StorageCorruption(
    'the journal was written in another format than this version knows',
    path,
    position,
    'Start the version that wrote it.',
  )
}

function badRecord(path: string, sequence: number): StorageCorruption {
  return new StorageCorruption(
    `block ${sequence} of the journal holds records that do not fit in it`,
    path,
    -1,
    RESTORE_ADVICE,
  )
}
