// What the simulator changes in the brokers' classes from outside, so that nothing in shipped code knows of it.
//
// Loaded once per process. Replicas are noted as they are made, for the observer; limits of storage and raft that are constants of the
// broker are drawn anew for each run, mostly tiny.

import type { AppendSink } from '../../../broker/partition/append.ts'
import { Partition } from '../../../broker/partition/partition.ts'
import { Replication } from '../../../broker/replication/driver.ts'
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
  /** An acks=all batch of a client is acknowledged in this moment. @param endOffset exclusive */
  acknowledged(partition: Partition, endOffset: number): void
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
  if (next === undefined || !requiresAll) {
    append.call(this, batch, requiresAll, sink, slot)
    return
  }
  // The bytes are the caller's again after the call.
  const span = offsetSpanOf(batch, 0)
  const told: AppendSink = {
    appended: (at, result) => {
      if (result.error === ErrorCode.NONE) next.acknowledged(this, result.baseOffset + span)
      sink.appended(at, result)
    },
  }
  append.call(this, batch, requiresAll, told, slot)
}

const open = ShardStorage.open
ShardStorage.open = (options: StorageOptions): Promise<ShardStorage> =>
  open.call(ShardStorage, instruments === undefined ? options : { ...options, ...instruments.storage })
