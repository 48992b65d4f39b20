// What the simulator changes in the brokers' classes from outside, so that nothing in shipped code knows of it.
//
// Loaded once per process. Replicas are noted as they are made, for the observer; limits of storage and raft that are constants of the
// broker are drawn anew for each run, mostly tiny.

import type { AppendSink } from '../../../broker/partition/append.ts'
import { Partition } from '../../../broker/partition/partition.ts'
import { Replication } from '../../../broker/replication/driver.ts'
import { Inbox } from '../../../broker/replication/inbox.ts'
import { PeerConnection } from '../../../broker/replication/link-connection.ts'
import { isNonsense } from '../../../broker/replication/peer-wire.ts'
import type { Replica } from '../../../broker/replication/replica.ts'
import { ErrorCode } from '../../../protocol/errors.ts'
import { offsetSpanOf } from '../../../protocol/records/batch.ts'
import { ShardStorage, type StorageOptions } from '../../../storage/shard-storage.ts'

export interface RaftLimits {
  readonly appendEntriesMax: number
  readonly appendBytesMax: number
  readonly inflightAppendsMax: number
  readonly inflightBytesMax: number
}

export type StorageLimits = Partial<
  Pick<
    StorageOptions,
    'blockBytesMax' | 'chunkBytes' | 'readAheadBytes' | 'readBytes' | 'openFilesMax' | 'idleMs' | 'journalFileCount'
  >
>

export interface Instruments {
  readonly raft: RaftLimits
  readonly storage: StorageLimits
  /** A replica was made by the thread that runs now. */
  made(replica: Replica): void
  /**
   * A batch of a client is acknowledged in this moment.
   * @param endOffset exclusive
   * @param isAll acks=all; otherwise acks=1, which promises a majority as well
   */
  acknowledged(partition: Partition, endOffset: number, isAll: boolean): void
  /** A broker cuts a connection, or drops a message, because a peer's bytes make no sense to it. */
  nonsense(error: Error): void
}

let instruments: Instruments | undefined

/** For the run that begins; undefined when it is over. */
export function instrument(next: Instruments | undefined): void {
  instruments = next
}

const add = Replication.prototype.add
Replication.prototype.add = function (this: Replication, ...given: Parameters<typeof add>): Replica {
  const replica = add.apply(this, given)
  if (instruments !== undefined) {
    Object.assign(replica.raft.settings.options, instruments.raft)
    instruments.made(replica)
  }
  return replica
}

const append = Partition.prototype.append
Partition.prototype.append = function (this: Partition, batch, requiresAll, sink, slot): void {
  const next = instruments
  if (next === undefined) {
    append.call(this, batch, requiresAll, sink, slot)
    return
  }
  // The bytes are the caller's again after the call.
  const span = offsetSpanOf(batch, 0)
  const told: AppendSink = {
    appended: (at, result) => {
      if (result.error === ErrorCode.NONE) next.acknowledged(this, result.baseOffset + span, requiresAll)
      sink.appended(at, result)
    },
  }
  append.call(this, batch, requiresAll, told, slot)
}

const cut = PeerConnection.prototype.cut
PeerConnection.prototype.cut = function (this: PeerConnection, error): void {
  instruments?.nonsense(error)
  cut.call(this, error)
}

// Messages that came before their group was open are read later, and no connection is cut for those.
const receive = Inbox.prototype.receive
Inbox.prototype.receive = function (this: Inbox, link, reader): void {
  try {
    receive.call(this, link, reader)
  } catch (error) {
    if (isNonsense(error)) instruments?.nonsense(error)
    throw error
  }
}

const open = ShardStorage.open
ShardStorage.open = (options: StorageOptions): Promise<ShardStorage> =>
  open.call(ShardStorage, instruments === undefined ? options : { ...options, ...instruments.storage })
