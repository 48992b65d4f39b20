// From the records of a partition of __consumer_offsets to what its groups are.
//
// A function of the records alone: the same log gives the same groups on whichever broker reads it.

import type { LogRecord } from './calls.ts'
import type { GroupMetadata } from './classic-events.ts'
import { GroupOffsets } from './offsets.ts'
import { readRecord } from './records.ts'

export interface Replayed {
  readonly groups: ReadonlyMap<string, ReplayedGroup>
  readonly recordCount: number
  /** Records of kinds that this broker does not know. */
  readonly foreignCount: number
}

export interface ReplayedGroup {
  /** null: only offsets were committed. */
  readonly metadata: GroupMetadata | null
  readonly offsets: GroupOffsets
}

/** @param isCancelled stops the reading when true; what was read so far is then of no use */
export async function replay(records: AsyncIterable<LogRecord>, isCancelled: () => boolean): Promise<Replayed> {
  const groups = new Map<string, { metadata: GroupMetadata | null; offsets: GroupOffsets }>()
  let recordCount = 0
  let foreignCount = 0
  for await (const { key, value } of records) {
    if (isCancelled()) break
    recordCount += 1
    const record = readRecord(key, value)
    if (record.type === 'foreign') {
      foreignCount += 1
      continue
    }
    let group = groups.get(record.groupId)
    if (group === undefined) groups.set(record.groupId, (group = { metadata: null, offsets: new GroupOffsets() }))
    if (record.type === 'group') group.metadata = record.metadata
    else if (record.committed === null) group.offsets.delete(record.topic, record.partition)
    else group.offsets.set(record.topic, record.partition, record.committed)
    if (group.metadata === null && group.offsets.count === 0) groups.delete(record.groupId)
  }
  return { groups, recordCount, foreignCount }
}
