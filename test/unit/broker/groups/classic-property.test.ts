// Random histories of a classic group: whatever clients, time and the log do, the promises of the protocol hold.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClassicGroup } from '../../../../broker/groups/classic.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'
import { Bench, NEW_MEMBER_MS, OPTIONS, REBALANCE_MS, SESSION_MS, subscription } from './bench.ts'

/** mulberry32 */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

function history(seed: number): void {
  const next = random(seed)
  const pick = <T>(values: readonly T[]): T => values[Math.floor(next() * values.length)]!
  const bench = new Bench({ maxSize: pick([3, 5, 1_000]) })
  const ids: string[] = ['nobody']
  const instances = [null, null, null, 'i1', 'i2']
  let generationId = 0
  let made = 0
  const check = () => {
    const { group } = bench
    assert(group.generationId >= generationId, 'generations never go back')
    generationId = group.generationId
    const members = bench.ids()
    assert.equal(new Set(members).size, members.length, 'a member is in the group once')
    if (members.length === 0) assert.equal(group.leaderId, undefined)
    else assert(members.includes(group.leaderId!), 'the leader is a member')
    if (group.state === 'Empty') assert.equal(members.length, 0)
    if (group.state === 'Stable' || group.state === 'CompletingRebalance') {
      assert(members.length > 0)
      for (const member of group.members()) {
        if (member.heldJoin !== undefined) assert(member.groupInstanceId !== null, 'only a return that is stored waits')
      }
    }
    const led = new Map<number, string>()
    for (const effect of bench.answers.values()) {
      if (effect.type !== 'join-answer' || effect.answer.error !== ErrorCode.NONE) continue
      const { answer } = effect
      if (answer.members.length === 0 || answer.skipAssignment) continue
      const before = led.get(answer.generationId)
      assert(before === undefined || before === answer.leader, 'one leader a generation computes')
      led.set(answer.generationId, answer.leader)
    }
  }
  for (let turn = 0; turn < 200; turn++) {
    const memberId = pick(ids)
    const instance = pick(instances)
    const sessionMs = pick([SESSION_MS, SESSION_MS * 3])
    switch (Math.floor(next() * 9)) {
      case 0: {
        const newId = `n${++made}`
        ids.push(newId)
        bench.join({
          newId,
          instance,
          sessionMs,
          known: next() < 0.5,
          skip: next() < 0.5,
          rebalanceMs: pick([5_000, REBALANCE_MS]),
        })
        break
      }
      case 1:
      case 2: {
        const protocols = [['range', subscription(pick(['t', 'u']))] as const, 'other'].slice(0, pick([1, 2]))
        bench.join({ memberId, instance: next() < 0.8 ? instanceOf(bench, memberId) : instance, sessionMs, protocols })
        break
      }
      case 3:
      case 4: {
        const assign = Object.fromEntries(bench.ids().map((id) => [id, `${turn}`]))
        const id = next() < 0.5 ? (bench.group.leaderId ?? memberId) : memberId
        bench.sync(id, { assign, generationId: generationId - (next() < 0.1 ? 1 : 0) })
        break
      }
      case 5:
        bench.heartbeat(memberId)
        break
      case 6:
        if (next() < 0.3) bench.leave(memberId, pick(ids))
        break
      case 7:
        bench.advance(pick([1, 500, 3_000, SESSION_MS, REBALANCE_MS]))
        break
      case 8:
        if (bench.holdsStores) bench.release(next() < 0.8 ? ErrorCode.NONE : ErrorCode.NOT_ENOUGH_REPLICAS)
        bench.holdsStores = next() < 0.3
        break
    }
    check()
  }
  bench.holdsStores = false
  bench.release()
  if (bench.group.state === 'Stable') comesBack(bench)
  bench.advance(NEW_MEMBER_MS + REBALANCE_MS * 20)
  check()
  for (const request of bench.asked.keys()) assert(!bench.waits(request), 'every request is answered in the end')
  assert.equal(bench.group.state, 'Empty', 'silence empties a group')
}

/** What is Stable in memory is what the log says. */
function comesBack(bench: Bench): void {
  const stored = bench.stored.at(-1)!
  const restored = ClassicGroup.restore('g', OPTIONS, stored)
  assert.equal(restored.generationId, bench.group.generationId)
  assert.equal(restored.protocolName, bench.group.protocolName)
  const shown = (group: ClassicGroup) =>
    [...group.members()]
      .map(({ memberId, groupInstanceId, assignment }) => `${memberId} ${groupInstanceId} ${assignment}`)
      .sort()
  assert.deepEqual(shown(restored), shown(bench.group))
}

function instanceOf(bench: Bench, memberId: string): string | null {
  return [...bench.group.members()].find((member) => member.memberId === memberId)?.groupInstanceId ?? null
}

test('300 random histories keep one leader, rising generations, and answer every request', () => {
  for (let seed = 1; seed <= 300; seed++) {
    try {
      history(seed)
    } catch (error) {
      throw new Error(`history of seed ${seed}`, { cause: error })
    }
  }
})
