// Changes that wait for their turn are bounded, and whoever is refused may ask again.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrorCode, isRetriable } from '../../../../protocol/errors.ts'
import { createRequest, fixture, topic } from './fixture.ts'

async function turn(): Promise<void> {
  for (let left = 0; left < 20; left++) await Promise.resolve()
}

test('so many changes wait for their turn; the next one of any kind is told to try again, until there is room', async () => {
  assert.ok(isRetriable(ErrorCode.REQUEST_TIMED_OUT) && isRetriable(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS))
  const { controller, log, image } = fixture()
  const gate = Promise.withResolvers<void>()
  log.gate = gate.promise
  const waiting = Array.from({ length: 1000 }, (_, at) =>
    controller.createTopics(createRequest([topic(`t${at}`)], { timeoutMs: 0x7fff_ffff })),
  )
  await turn()
  const { topics } = await controller.createTopics(createRequest([topic('more')]))
  assert.deepEqual(
    topics.map(({ name, errorCode, errorMessage }) => ({ name, errorCode, errorMessage })),
    [
      {
        name: 'more',
        errorCode: ErrorCode.REQUEST_TIMED_OUT,
        errorMessage: 'Too many changes of the cluster are waiting.',
      },
    ],
  )
  const deleted = await controller.deleteTopics({ topics: [], topicNames: ['t0'], timeoutMs: 1000 }, 5)
  assert.equal(deleted.responses[0]?.errorCode, ErrorCode.REQUEST_TIMED_OUT)
  const ids = await controller.allocateProducerIds()
  assert.ok('error' in ids && ids.error === ErrorCode.REQUEST_TIMED_OUT)
  gate.resolve()
  for (const { topics } of await Promise.all(waiting)) assert.equal(topics[0]?.errorCode, ErrorCode.NONE)
  assert.equal(image.topicByName('more'), undefined, 'what was refused was not done')
  assert.equal((await controller.createTopics(createRequest([topic('more')]))).topics[0]?.errorCode, ErrorCode.NONE)
})
