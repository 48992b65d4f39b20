// Raft node ids: which broker, and which of the data directories that broker has had. Pure functions.
//
// A broker whose data directory was replaced has forgotten its votes and its log, so it takes part as another node: the
// metadata log counts the directories of a broker id (directoryEpoch, 0 for the first), and both numbers make the id.

import { invariant } from '../../protocol/invariant.ts'
import type { NodeId } from '../raft/types.ts'

/** Broker ids are int32 on the wire; what is above them is the directory epoch. */
const BROKER_IDS = 2 ** 32
/** Keeps every id an exact double. */
const DIRECTORY_EPOCH_MAX = 2 ** 21 - 1

/** @param directoryEpoch how many other data directories the broker id had before this one */
export function raftIdOf(brokerId: number, directoryEpoch: number): NodeId {
  invariant(brokerId >= 0 && brokerId < BROKER_IDS, 'a broker id is a non-negative int32', brokerId, BROKER_IDS)
  invariant(
    directoryEpoch >= 0 && directoryEpoch <= DIRECTORY_EPOCH_MAX,
    'a directory epoch fits above the broker id in an exact double',
    directoryEpoch,
    DIRECTORY_EPOCH_MAX,
  )
  // The product would be a double on the heap, in each of very many groups; nearly all disks are a broker's first.
  return directoryEpoch === 0 ? brokerId : directoryEpoch * BROKER_IDS + brokerId
}

export function brokerOf(raftId: NodeId): number {
  return raftId % BROKER_IDS
}

export function directoryEpochOf(raftId: NodeId): number {
  return Math.floor(raftId / BROKER_IDS)
}
