// Who may register as which broker, as far as the controller can tell from its own links.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PeerAddress } from '../../../../broker/cluster/commands.ts'
import { Controller } from '../../../../broker/cluster/controller.ts'
import { errorName } from '../../../../protocol/errors.ts'
import { countingRandom, fixture, silent } from './fixture.ts'

function cluster() {
  const { config, image, log, clock, dead, alive } = fixture({ 'node.id': '1' }, 0)
  const linked = new Map<number, PeerAddress>()
  const controller = new Controller({
    environment: { clock, random: countingRandom(), logger: silent },
    ...{ config, log },
    image: () => image,
    isAlive: alive,
    linkedAddress: (nodeId) => linked.get(nodeId),
  })
  const registered = async (nodeId: number, port: number, about: { directoryId?: string; port?: number } = {}) => {
    const peer = { host: 'h', port }
    const { error } = await controller.registerBroker({
      ...{ nodeId, host: 'h', port: 10_000 + port, rack: null, directoryId: `d${nodeId}`, peer },
      ...about,
    })
    return errorName(error)
  }
  const portOf = (nodeId: number) => image.broker(nodeId)?.peer?.port
  return { registered, portOf, linked, dead, image }
}

test('a living broker keeps its address, whoever comes with a copy of its directory', async () => {
  const { registered, portOf, linked } = cluster()
  assert.equal(await registered(2, 1), 'NONE')
  linked.set(2, { host: 'h', port: 1 })
  assert.equal(await registered(2, 7), 'DUPLICATE_BROKER_REGISTRATION')
  assert.equal(portOf(2), 1)
  // The one that is linked itself may say something new of itself.
  assert.equal(await registered(2, 1, { port: 99 }), 'NONE')
})

test('a broker that comes back at another address is registered there once it is linked from there, or its old self is dead', async () => {
  const { registered, portOf, linked, dead } = cluster()
  await registered(2, 1)
  // Its old self was heard of a moment ago, and nothing is linked.
  assert.equal(await registered(2, 7), 'DUPLICATE_BROKER_REGISTRATION')
  linked.set(2, { host: 'h', port: 7 })
  assert.equal(await registered(2, 7), 'NONE')
  assert.equal(portOf(2), 7)
  linked.delete(2)
  dead.add(2)
  assert.equal(await registered(2, 8), 'NONE')
  assert.equal(portOf(2), 8)
})

test('the broker of the controller itself is alive where it is, and moves with it', async () => {
  const { registered, portOf, linked } = cluster()
  await registered(1, 1)
  linked.set(1, { host: 'h', port: 3 })
  assert.equal(await registered(1, 7), 'DUPLICATE_BROKER_REGISTRATION')
  assert.equal(await registered(1, 3), 'NONE')
  assert.equal(portOf(1), 3)
})

test('a broker that was alone gets an address when it is given one', async () => {
  const { image, registered, portOf, linked } = cluster()
  image.apply({ type: 'register-broker', nodeId: 1, host: 'h', port: 1, rack: null, endpoints: [], directoryId: 'd1' })
  linked.set(1, { host: 'h', port: 3 })
  assert.equal(await registered(1, 3), 'NONE')
  assert.equal(portOf(1), 3)
})
