// The data directory as a whole: whose it is, of which format, and for how many shards its journals were written.
//
// Main thread, at start. Layout: millrace.json (this file's record), journal/<generation>/shard-<n>/, topics/<topic>/<partition>-<group>/.

import type { DirectoryLock, Disk } from '../storage/disk.ts'
import { DiskError } from '../storage/disk.ts'
import type { NodeIdentity } from './cluster/node-identity.ts'
import { OperatorError } from './operator-error.ts'

/** Raised when something is stored differently; a broker refuses a directory of a higher one. */
export const FORMAT = 1

export interface DirectoryRecord {
  readonly format: number
  readonly nodeId: number
  readonly shardCount: number
  /** Journals of this number are in use; moving groups to other shards writes a new one. */
  readonly generation: number
  /** Tells this directory from every other one that the broker id has had. Missing in the record of an older release. */
  readonly directoryId?: string
  /** Once the broker knows its cluster. */
  readonly identity?: NodeIdentity
}

export interface OpenedDirectory {
  readonly lock: DirectoryLock
  /** Undefined for a directory without data. */
  readonly record: DirectoryRecord | undefined
}

const RECORD = 'millrace.json'

export function journalDirectory(dataDirectory: string, generation: number, shardId: number): string {
  return `${dataDirectory}/journal/${generation}/shard-${shardId}`
}

/**
 * Makes the directory when missing, takes its lock, and reads its record.
 * @param uid of this process; undefined where the system has none
 * @throws OperatorError when another broker runs on it, another user owns it, or its record is newer or damaged
 */
export async function openDataDirectory(disk: Disk, path: string, uid: number | undefined): Promise<OpenedDirectory> {
  const lock = await disk.lock(path)
  if (lock === undefined) {
    throw new OperatorError(
      'DATA_DIRECTORY_IN_USE',
      `another broker is running on the data directory ${path}`,
      'Stop it, or give this one another directory with --data-dir.',
    )
  }
  try {
    return { lock, record: await readRecord(disk, path, uid) }
  } catch (error) {
    await lock.release()
    throw error
  }
}

async function readRecord(disk: Disk, path: string, uid: number | undefined): Promise<DirectoryRecord | undefined> {
  const file = `${path}/${RECORD}`
  const stat = await disk.stat(file)
  if (stat === undefined) {
    const names = (await disk.list(path)).filter((name) => name === 'journal' || name === 'topics')
    if (names.length > 0) {
      throw new OperatorError(
        'DATA_DIRECTORY_DAMAGED',
        `${file} is missing although ${path} holds ${names.join(' and ')}`,
        'Restore it from a copy of the directory, or start with an empty directory.',
      )
    }
    return undefined
  }
  if (uid !== undefined && stat.uid !== uid) {
    throw new OperatorError(
      'DATA_DIRECTORY_OWNER',
      `the data directory ${path} belongs to user ${stat.uid}, and this broker runs as user ${uid}`,
      'Run the broker as that user, or change the owner of everything in the directory.',
    )
  }
  const text = await readText(disk, file, stat.sizeBytes)
  let record: Partial<DirectoryRecord>
  try {
    record = JSON.parse(text) as Partial<DirectoryRecord>
  } catch (cause) {
    throw damaged(file, cause)
  }
  if (typeof record.format === 'number' && record.format > FORMAT) {
    throw new OperatorError(
      'DATA_DIRECTORY_NEWER',
      `the data directory ${path} has format ${record.format}, and this release reads up to format ${FORMAT}`,
      'Start the release that wrote it, or a newer one.',
    )
  }
  const { format, nodeId, shardCount, generation } = record
  if (![format, nodeId, shardCount, generation].every(Number.isInteger) || shardCount! < 1) throw damaged(file)
  const { directoryId, identity } = record
  return {
    format: format!,
    nodeId: nodeId!,
    shardCount: shardCount!,
    generation: generation!,
    ...(typeof directoryId === 'string' ? { directoryId } : {}),
    ...(identity === undefined ? {} : { identity: checkedIdentity(file, identity) }),
  }
}

function damaged(file: string, cause?: unknown): OperatorError {
  return new OperatorError(
    'DATA_DIRECTORY_DAMAGED',
    `${file} cannot be read`,
    'Restore it from a copy of the directory, or start with an empty directory.',
    { cause },
  )
}

function checkedIdentity(file: string, identity: Partial<NodeIdentity>): NodeIdentity {
  const { clusterId, directoryEpoch, isFounder = false, isRegistered = false } = identity
  if (typeof clusterId !== 'string' || !Number.isInteger(directoryEpoch) || directoryEpoch! < 0) throw damaged(file)
  return { clusterId, directoryEpoch: directoryEpoch!, isFounder, isRegistered }
}

/** Replaces the record as a whole: the old one or the new one is there after a crash, never half of one. */
export async function writeRecord(disk: Disk, path: string, record: DirectoryRecord): Promise<void> {
  const temporary = `${path}/${RECORD}.new`
  await disk.remove(temporary)
  const bytes = Buffer.from(`${JSON.stringify(record)}\n`)
  const file = await disk.open(temporary, { mode: 'create', direct: false })
  await file.write(bytes, 0, true)
  await file.sync()
  await file.close()
  await disk.rename(temporary, `${path}/${RECORD}`)
  await disk.syncDirectory(path)
}

async function readText(disk: Disk, path: string, sizeBytes: number): Promise<string> {
  if (sizeBytes > 1 << 20) throw damaged(path)
  const file = await disk.open(path, { mode: 'r', direct: false })
  try {
    const bytes = Buffer.alloc(sizeBytes)
    const count = await file.read(bytes, 0)
    return bytes.toString('utf8', 0, count)
  } finally {
    await file.close()
  }
}

/** What the operator is told about a directory that cannot be used at all. */
export function directoryProblem(path: string, error: unknown): unknown {
  if (error instanceof OperatorError) return error
  if (!(error instanceof DiskError) && !(error instanceof Error && 'code' in error)) return error
  const { code } = error as { code?: unknown }
  let advice = 'Choose another directory with --data-dir.'
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    advice = 'Give this user the right to write there, or choose another directory with --data-dir.'
  } else if (code === 'ENOSPC' || code === 'EDQUOT') {
    advice = 'Make room there, or choose another directory with --data-dir.'
  }
  return new OperatorError(
    'DATA_DIRECTORY_UNUSABLE',
    `cannot use the data directory ${path}: ${error.message}`,
    advice,
    {
      cause: error,
    },
  )
}
