import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Arena, SLAB_BYTES } from '../../../storage/arena.ts'
import { SeededRandom } from '../../sim/random.ts'

test('runs are aligned to slabs, do not overlap, and free space joins again', () => {
  const arena = Arena.create(64 * SLAB_BYTES)
  const random = new SeededRandom(7)
  const held = new Map<number, number>()
  const owner = new Int32Array(64).fill(0)
  for (let step = 1; step < 20_000; step++) {
    if (random.chance(0.5)) {
      const slabs = 1 + random.below(9)
      const at = arena.alloc(slabs * SLAB_BYTES - random.below(SLAB_BYTES), 'journal')
      if (at < 0) continue
      assert.equal(at % SLAB_BYTES, 0)
      for (let slab = at / SLAB_BYTES; slab < at / SLAB_BYTES + slabs; slab++) {
        assert.equal(owner[slab], 0, 'a slab belongs to one run')
        owner[slab] = step
      }
      held.set(at, slabs)
    } else if (held.size > 0) {
      const at = [...held.keys()][random.below(held.size)]!
      const slabs = held.get(at)!
      owner.fill(0, at / SLAB_BYTES, at / SLAB_BYTES + slabs)
      held.delete(at)
      arena.release(at)
    }
  }
  for (const at of held.keys()) arena.release(at)
  assert.equal(arena.freeBytes, 64 * SLAB_BYTES)
  assert.equal(arena.alloc(64 * SLAB_BYTES), 0)
})

test('a run is free when its last holder lets go, and not before', () => {
  const arena = Arena.create(16 * SLAB_BYTES)
  const at = arena.alloc(16 * SLAB_BYTES)
  arena.retain(at)
  arena.release(at)
  assert.equal(arena.alloc(1), -1)
  arena.release(at)
  assert.equal(arena.alloc(1), 0)
  assert.throws(() => arena.release(at + SLAB_BYTES), /released as often/)
})

test('bytes are booked under their purpose, also when it changes', () => {
  const arena = Arena.create(16 * SLAB_BYTES, { readahead: 4 * SLAB_BYTES })
  const at = arena.alloc(3 * SLAB_BYTES, 'readahead')
  assert.equal(arena.room('readahead'), SLAB_BYTES)
  arena.reassign(at, 'cache')
  assert.equal(arena.usedBytes('readahead'), 0)
  assert.equal(arena.usedBytes('cache'), 3 * SLAB_BYTES)
  arena.release(at)
  assert.equal(arena.usedBytes('cache'), 0)
})

test('the owner hears when memory comes back', () => {
  const arena = Arena.create(16 * SLAB_BYTES)
  let calls = 0
  arena.onFree = () => {
    calls += 1
  }
  const at = arena.alloc(1)
  arena.retain(at)
  arena.release(at)
  assert.equal(calls, 0)
  arena.release(at)
  assert.equal(calls, 1)
})
