// What groups hold in a coordinator is bounded: at the bound those that are there go on, and new ones are told to try again.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GroupCoordinator } from '../../../../broker/groups/coordinator.ts'
import { ErrorCode, isRetriable } from '../../../../protocol/errors.ts'
import { settle, World } from './world.ts'

/** A coordinator that may hold so much, with what the log has. */
async function bounded(heldBytesMax: number): Promise<World> {
  const world = await World.open()
  world.coordinator.close()
  const { config, clock, random, log, image } = world
  const environment = { clock, random, logger: { error() {}, warn() {}, info() {}, debug() {} } }
  world.coordinator = new GroupCoordinator({ config, environment, log, image: () => image, heldBytesMax })
  await world.coordinator.lead(0)
  return world
}

test('a coordinator that holds too much takes no new group, and serves the ones it has', async () => {
  assert.ok(isRetriable(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS))
  const world = await bounded(10_000)
  let count = 0
  while ((await world.commit(`g${count}`, 1)) === ErrorCode.NONE && count < 100) count++
  assert.ok(count > 1 && count < 20, `${count} groups`)
  assert.equal(await world.commit('another', 1), ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
  const joined = await world.coordinator.join(world.joinCall('another', ''))
  assert.equal(joined.error, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
  assert.equal(await world.commit('g0', 7), ErrorCode.NONE)
  assert.equal(world.offset('g0'), 7)
  assert.equal(await world.coordinator.deleteGroup('g1'), ErrorCode.NONE)
  assert.equal(await world.commit('another', 1), ErrorCode.NONE, 'there is room again')
})

test('members that join with more than there is room for are told to try again', async () => {
  const world = await bounded(20_000)
  const large = { protocols: [{ name: 'range', metadata: new Uint8Array(30_000) }] }
  const refused = await world.coordinator.join(world.joinCall('g', '', large))
  assert.equal(refused.error, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
  const memberId = await world.stable('g')
  const again = await world.coordinator.join(world.joinCall('g', memberId, large))
  assert.equal(again.error, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, 'a member may not grow either')
  const { error } = await world.coordinator.join(world.joinCall('g', memberId))
  assert.equal(error, ErrorCode.NONE)
})

test('what the log holds is loaded whatever it takes, and what is led elsewhere counts no longer', async () => {
  const world = await bounded(1 << 20)
  for (let count = 0; count < 20; count++) await world.commit(`g${count}`, 1)
  world.coordinator.close()
  const { config, clock, random, log, image } = world
  const environment = { clock, random, logger: { error() {}, warn() {}, info() {}, debug() {} } }
  world.coordinator = new GroupCoordinator({ config, environment, log, image: () => image, heldBytesMax: 10_000 })
  await world.coordinator.lead(0)
  assert.equal(world.coordinator.groupCount, 20)
  assert.equal(await world.commit('another', 1), ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
  world.coordinator.resign(0)
  log.partitions.clear()
  await world.coordinator.lead(0)
  assert.equal(await world.commit('another', 1), ErrorCode.NONE)
  await settle()
})

test('a commit too large for the log is refused in the words of a commit', async () => {
  const world = await bounded(1 << 20)
  world.log.error = ErrorCode.MESSAGE_TOO_LARGE
  assert.equal(await world.commit('g', 1), ErrorCode.INVALID_COMMIT_OFFSET_SIZE)
})
