import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Membership } from '../../../../broker/raft/membership.ts'
import type { SnapshotMessage } from '../../../../broker/raft/types.ts'
import { PeerReader } from '../../../../broker/replication/peer-wire.ts'
import { RaftHeader } from '../../../../broker/replication/raft-codec.ts'
import type { Replica } from '../../../../broker/replication/replica.ts'
import { Snapshots } from '../../../../broker/replication/snapshots.ts'
import { FakeWriter } from './world.ts'

test('a snapshot of the metadata does not claim what was committed but is not in the state yet', () => {
  const membership = new Membership([1, 2])
  const asked: SnapshotMessage = {
    type: 'snapshot',
    term: 3,
    index: 10,
    indexTerm: 2,
    membershipIndex: 4,
    membership,
    ref: undefined,
  }
  // Raft has committed up to 15 in this turn; the owner was told up to 12.
  const replica = {
    isRemoved: false,
    groupId: 0,
    log: { isMetadata: true, commitIndex: 12, logStartOffset: 0, offsetAfter: () => 0 },
    raft: {
      id: 1,
      term: 3,
      commitIndex: 15,
      committedMembership: { index: 4, membership },
      termAt: (index: number) => (index > 11 ? 3 : 2),
      progressOf: () => ({ state: 'snapshot' }),
    },
    owner: { snapshot: () => Buffer.from('as of 12') },
  } as unknown as Replica
  const sent: Buffer[] = []
  const snapshots = new Snapshots({
    begin: () => new FakeWriter((body) => sent.push(body)),
    lost: () => assert.fail('it arrives'),
    take: () => true,
    nowMs: () => 0,
  })
  snapshots.send(replica, 2, asked)
  const reader = new PeerReader(sent[0]!).open(sent[0]!, 0, sent[0]!.length)
  const header = new RaftHeader().read(reader)
  assert.deepEqual([header.groupId, header.term], [0, 3])
  assert.deepEqual([reader.integer(), reader.u32()], [12, 3])
})
