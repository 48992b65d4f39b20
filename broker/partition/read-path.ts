// A consumer's read of a partition: whether this replica may answer it, from where, and what it is told instead of bytes.
//
// Functions over a Partition, on its shard's thread. A leader answers everybody, and so does the last leader while nobody newer is known:
// what is committed stays true. A follower answers those who ask for that (KIP-392), below its own high watermark; what it does not
// have, the leader may have, so it never says that an offset is out of range because of its own end.

import { ErrorCode } from '../../protocol/errors.ts'
import { DiskError } from '../../storage/disk.ts'
import type { ReadResult } from '../../storage/read-result.ts'
import { NO_LEADER } from './append.ts'
import { endOffsetOfEpoch } from './offsets.ts'
import type { Partition } from './partition.ts'
import { type DivergingEpoch, type PartitionRead, type PartitionReadResult, readEmpty, readRefused } from './read.ts'

export function readPartition(
  partition: Partition,
  read: PartitionRead,
): PartitionReadResult | Promise<PartitionReadResult> {
  const refusal = partition.checkReader(read.currentLeaderEpoch, read.fromFollower)
  if (refusal !== ErrorCode.NONE) return readRefused(refusal, partition.leader)
  if (read.topicId !== undefined && read.topicId !== partition.topicId) {
    return readRefused(ErrorCode.INCONSISTENT_TOPIC_ID)
  }
  const { log, host, highWatermark, lastStableOffset, isLeader } = partition
  const { logStartOffset } = log
  const { fetchOffset } = read
  if (!isLeader && fetchOffset > log.logEndOffset) return readRefused(ErrorCode.OFFSET_NOT_AVAILABLE)
  const diverging = read.lastFetchedEpoch < 0 ? undefined : divergence(partition, read)
  if (diverging === OUT_OF_RANGE) return readRefused(ErrorCode.OFFSET_OUT_OF_RANGE)
  if (diverging !== undefined) return readEmpty(highWatermark, lastStableOffset, logStartOffset, diverging)
  if (fetchOffset < logStartOffset || fetchOffset > log.logEndOffset) return readRefused(ErrorCode.OFFSET_OUT_OF_RANGE)
  if (read.nearReplica >= 0 && partition.isReadableAt(read.nearReplica, fetchOffset)) {
    return readEmpty(highWatermark, lastStableOffset, logStartOffset, undefined, read.nearReplica)
  }
  const endOffset = read.readCommitted ? lastStableOffset : highWatermark
  const left = host.readBytesLeft
  if (fetchOffset >= endOffset || left <= 0) return readEmpty(highWatermark, lastStableOffset, logStartOffset)
  let result: ReadResult | Promise<ReadResult>
  try {
    result = log.read(fetchOffset, Math.min(read.maxBytes, left), endOffset, true)
  } catch (error) {
    return readFailed(partition, error)
  }
  if (result instanceof Promise) {
    return result.then(
      (done) => readDone(partition, done),
      (error) => readFailed(partition, error),
    )
  }
  return readDone(partition, result)
}

const OUT_OF_RANGE = Symbol('the epoch or the offset is not in the log')

/** Whether what the reader has of its last epoch is not what this log has. */
function divergence(
  { log, leaderEpoch, isLeader, highWatermark }: Partition,
  { fetchOffset, lastFetchedEpoch }: PartitionRead,
): DivergingEpoch | undefined | typeof OUT_OF_RANGE {
  // What a follower holds above its high watermark may be replaced: nothing is to be concluded from it.
  if (!isLeader && fetchOffset > highWatermark) return undefined
  if (lastFetchedEpoch > leaderEpoch || fetchOffset < log.logStartOffset) return OUT_OF_RANGE
  const end = endOffsetOfEpoch(log, lastFetchedEpoch, leaderEpoch)
  const isSame = end.leaderEpoch >= lastFetchedEpoch && end.endOffset >= fetchOffset
  return isSame ? undefined : { epoch: end.leaderEpoch, endOffset: end.endOffset }
}

function readDone(partition: Partition, result: ReadResult): PartitionReadResult {
  const { bytes } = result
  const { host } = partition
  host.lent(bytes)
  return {
    error: ErrorCode.NONE,
    highWatermark: partition.highWatermark,
    lastStableOffset: partition.lastStableOffset,
    logStartOffset: partition.logStartOffset,
    divergingEpoch: undefined,
    preferredReadReplica: -1,
    leader: NO_LEADER,
    fragments: result.fragments,
    arenaOffsets: result.arenaOffsets,
    bytes,
    release: () => {
      host.lent(-bytes)
      result.release()
    },
  }
}

/** What the disk refuses or has damaged is the client's KAFKA_STORAGE_ERROR and the operator's log line. */
function readFailed(partition: Partition, error: unknown): PartitionReadResult {
  if (!(error instanceof Error) || error.name === 'InvariantViolation') throw error
  const where = `${partition.topic}-${partition.partition}`
  partition.host.logger.error(`cannot read ${where}: ${error.message}`)
  return readRefused(error instanceof DiskError ? ErrorCode.KAFKA_STORAGE_ERROR : ErrorCode.CORRUPT_MESSAGE)
}
