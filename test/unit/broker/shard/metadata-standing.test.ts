// Whether a broker leads the metadata group, hears its leader, or is cut off.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import { Membership } from '../../../../broker/raft/membership.ts'
import { NOBODY } from '../../../../broker/raft/types.ts'
import { MetadataStanding, type MetadataStandingOptions } from '../../../../broker/shard/metadata-standing.ts'
import { ManualClock } from '../cluster/fixture.ts'

const OWN = raftIdOf(1, 0)

class Bench {
  readonly clock = new ManualClock()
  readonly alive = new Set([2, 3])
  readonly told: string[] = []
  readonly raft: { id: number; role: string; leaderId: number; membership: Membership }
  readonly standing: MetadataStanding

  constructor(voters: readonly number[] = [1, 2, 3], learners: readonly number[] = []) {
    const idsOf = (nodeIds: readonly number[]) => nodeIds.map((nodeId) => raftIdOf(nodeId, 0))
    const membership = new Membership(idsOf(voters), idsOf(learners))
    this.raft = { id: OWN, role: 'follower', leaderId: raftIdOf(2, 0), membership }
    const options = {
      clock: this.clock,
      replica: () => ({ raft: this.raft }),
      isAlive: (nodeId: number) => this.alive.has(nodeId),
      changed: ({ isCutOff, isController }: { isCutOff: boolean; isController: boolean }) =>
        void this.told.push(`${isCutOff ? 'cut off' : 'in contact'}${isController ? ', controller' : ''}`),
    }
    this.standing = new MetadataStanding(options as unknown as MetadataStandingOptions)
  }

  becomes(role: string, leaderId = NOBODY): void {
    Object.assign(this.raft, { role, leaderId })
    this.standing.look()
  }
}

test('a follower that loses its leader while others live is not cut off, as they elect another', () => {
  const bench = new Bench()
  bench.standing.look()
  bench.alive.delete(2)
  bench.becomes('follower')
  bench.clock.advance(900)
  bench.becomes('candidate')
  bench.becomes('follower', raftIdOf(3, 0))
  assert.deepEqual(bench.told, [])
})

test('a follower that hears nobody is cut off, until it hears a leader', () => {
  const bench = new Bench()
  bench.alive.clear()
  bench.becomes('follower')
  bench.standing.look()
  assert.deepEqual(bench.told, ['cut off'])
  bench.alive.add(3)
  bench.becomes('follower', raftIdOf(3, 0))
  assert.deepEqual(bench.told, ['cut off', 'in contact'])
})

test('a leader that loses its majority is cut off and no controller any more', () => {
  const bench = new Bench()
  bench.becomes('leader', OWN)
  bench.alive.clear()
  bench.becomes('follower')
  assert.deepEqual(bench.told, ['in contact, controller', 'cut off'])
})

test('the survivor of two is cut off, a broker that decides alone never is', () => {
  const two = new Bench([1, 2])
  two.alive.clear()
  two.becomes('follower')
  assert.deepEqual(two.told, ['cut off'])
  const alone = new Bench([1])
  alone.alive.clear()
  alone.becomes('follower')
  assert.deepEqual(alone.told, [])
})

test('voters who hear each other and elect nobody for seconds are not enough', () => {
  const bench = new Bench()
  bench.alive.delete(2)
  bench.becomes('follower')
  bench.clock.advance(2999)
  bench.standing.look()
  assert.deepEqual(bench.told, [])
  bench.clock.advance(1)
  bench.standing.look()
  assert.deepEqual(bench.told, ['cut off'])
  bench.becomes('follower', raftIdOf(2, 0))
  bench.becomes('follower')
  assert.deepEqual(bench.told, ['cut off', 'in contact'], 'counted anew')
})

test('a broker without a vote counts those who have one', () => {
  const bench = new Bench([2, 3, 4], [1])
  bench.alive.delete(2)
  bench.becomes('follower')
  assert.deepEqual(bench.told, ['cut off'])
  bench.alive.add(4)
  bench.standing.look()
  assert.deepEqual(bench.told, ['cut off', 'in contact'])
})
