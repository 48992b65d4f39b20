// When a member of the metadata group was last heard of.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LastHeard } from '../../../../broker/shard/last-heard.ts'

test('a member that dies keeps the times of its last life', () => {
  const heard = new LastHeard()
  assert.deepEqual(heard.look(2, 1000, true, true), { lastHeardMs: 1000, lastCaughtUpMs: 1000 })
  assert.deepEqual(heard.look(2, 2000, true, false), { lastHeardMs: 2000, lastCaughtUpMs: 1000 })
  assert.deepEqual(heard.look(2, 3000, false, true), { lastHeardMs: 2000, lastCaughtUpMs: 1000 })
  assert.deepEqual(heard.look(2, 4000, true, true), { lastHeardMs: 4000, lastCaughtUpMs: 4000 })
})

test('a member that was never there has no times, and another leadership begins without any', () => {
  const heard = new LastHeard()
  assert.deepEqual(heard.look(3, 1000, false, true), { lastHeardMs: -1, lastCaughtUpMs: -1 })
  heard.look(3, 2000, true, true)
  heard.forget()
  assert.deepEqual(heard.look(3, 3000, false, true), { lastHeardMs: -1, lastCaughtUpMs: -1 })
})
