// The level of the log, changed while the broker runs.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LOGGER_LEVELS, LogThreshold } from '../../../../broker/observe/log-level.ts'

test('a level lets through what is as urgent or more', () => {
  const threshold = LogThreshold.at('WARN')
  const written = () => LOGGER_LEVELS.filter((level) => threshold.writes(level))
  assert.deepEqual(written(), ['FATAL', 'ERROR', 'WARN'])
  threshold.level = 'TRACE'
  assert.deepEqual(written(), LOGGER_LEVELS)
  threshold.level = 'FATAL'
  assert.equal(threshold.writes('ERROR'), false)
})

test('threads that share the memory share the level', () => {
  const main = LogThreshold.at('WARN')
  const shard = new LogThreshold(main.memory)
  assert.equal(shard.level, 'WARN')
  shard.level = 'DEBUG'
  assert.equal(main.writes('DEBUG'), true)
})
