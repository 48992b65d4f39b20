// Who refuses batches, as a leader remembers it: told once, asked again now and then, forgotten with the leadership.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Refusals } from '../../../../broker/replication/refusals.ts'
import type { Replica } from '../../../../broker/replication/replica.ts'

class Bench {
  readonly asked: string[] = []
  readonly refusals = new Refusals((replica, id) => void this.asked.push(`${(replica as Named).name} ${id}`))

  /** @returns after how many ticks somebody was asked; undefined when nobody was */
  ticksToQuestion(ticksMax = 1000): number | undefined {
    this.asked.length = 0
    for (let ticks = 1; ticks <= ticksMax; ticks++) {
      this.refusals.tick()
      if (this.asked.length > 0) return ticks
    }
    return undefined
  }
}

type Named = Replica & { readonly name: string }

const replica = (name: string): Named => ({ name }) as Named

test('a refusal is news once, and so is its end', () => {
  const { refusals } = new Bench()
  const group = replica('a')
  assert.equal(refusals.note(group, 2, false), false)
  assert.equal(refusals.note(group, 2, true), true)
  assert.equal(refusals.note(group, 2, true), false)
  assert.equal(refusals.has(group, 2), true)
  assert.equal(refusals.note(group, 2, false), true)
  assert.equal(refusals.note(group, 2, false), false)
  assert.equal(refusals.has(group, 2), false)
  assert.equal(refusals.note(group, 2, true), true, 'and it may begin again')
})

test('members and groups are told apart', () => {
  const { refusals } = new Bench()
  const [one, other] = [replica('a'), replica('b')]
  refusals.note(one, 2, true)
  assert.equal(refusals.note(one, 3, true), true)
  assert.equal(refusals.note(other, 2, true), true)
  refusals.note(one, 2, false)
  const known = [one, other].map((group) => [2, 3].map((id) => refusals.has(group, id)))
  assert.deepEqual(known, [
    [false, true],
    [true, false],
  ])
})

test('whoever refuses is asked again and again, every member of every group, and nobody else', () => {
  const bench = new Bench()
  const { refusals } = bench
  const [one, other] = [replica('a'), replica('b')]
  assert.equal(bench.ticksToQuestion(), undefined)
  refusals.note(one, 2, true)
  refusals.note(one, 3, true)
  refusals.note(other, 2, true)
  bench.ticksToQuestion()
  assert.deepEqual(bench.asked, ['a 2', 'a 3', 'b 2'])
  const again = bench.ticksToQuestion()
  assert.deepEqual(bench.asked, ['a 2', 'a 3', 'b 2'])
  assert.ok(again !== undefined && again > 1, 'not with every tick: the answer would be the same')
  assert.equal(bench.ticksToQuestion(), again, 'in even steps')
  refusals.note(one, 2, false)
  refusals.note(other, 2, false)
  bench.ticksToQuestion()
  assert.deepEqual(bench.asked, ['a 3'])
  refusals.note(one, 3, false)
  assert.equal(bench.ticksToQuestion(), undefined)
})

test('a group that is not led here any more is forgotten, the others are not', () => {
  const bench = new Bench()
  const { refusals } = bench
  const [one, other] = [replica('a'), replica('b')]
  for (const group of [one, other]) refusals.note(group, 2, true)
  refusals.forget(one)
  refusals.forget(one)
  assert.deepEqual([refusals.has(one, 2), refusals.has(other, 2)], [false, true])
  bench.ticksToQuestion()
  assert.deepEqual(bench.asked, ['b 2'])
  assert.equal(refusals.note(one, 2, true), true, 'led again, and news again')
})
