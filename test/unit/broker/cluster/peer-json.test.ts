// What brokers tell each other as JSON: taken when every field makes sense, and not at all when one does not.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  parseJson,
  registerAnswerOf,
  registrationOf,
  replicasOf,
  seedStatusOf,
} from '../../../../broker/cluster/peer-json.ts'

const PEER = { host: 'peer', port: 9192 }
const REGISTRATION = {
  ...{
    nodeId: 7,
    host: 'client',
    port: 9092,
    rack: 'r1',
    directoryId: 'd7',
    peer: PEER,
    shardCount: 2,
    directoryEpoch: 3,
  },
  endpoints: [{ listener: 'INSIDE', host: 'inside', port: 9093 }],
}
const ANSWER = {
  ...{ error: 0, message: null, clusterId: 'c', directoryEpoch: 1, metadataIndex: 9 },
  peers: [{ nodeId: 1, ...PEER }],
}
const STATUS = { nodeId: 1, clusterId: '', isDeciding: true, isIdTaken: true }

const NO_OBJECTS = [undefined, null, 7, 'text', true]

/** Each with one field that makes no sense. */
function spoilt(sound: object, fields: Record<string, readonly unknown[]>): object[] {
  return Object.entries(fields).flatMap(([name, values]) => values.map((value) => ({ ...sound, [name]: value })))
}

test('what makes sense comes back as it is', () => {
  assert.deepEqual(registrationOf(REGISTRATION), REGISTRATION)
  const least = { nodeId: 0, host: 'h', port: 0, rack: null }
  assert.deepEqual(registrationOf(least), least)
  assert.deepEqual(registrationOf({ ...least, peer: null }), { ...least, peer: null })
  assert.deepEqual(registerAnswerOf(ANSWER), ANSWER)
  assert.deepEqual(registerAnswerOf({ error: 41 }), { error: 41 })
  assert.deepEqual(seedStatusOf(STATUS), STATUS)
  assert.deepEqual(replicasOf([3, 1, 2]), [3, 1, 2])
  assert.deepEqual(parseJson(Buffer.from('{"a":[1]}')), { a: [1] })
})

test('fields that nobody knows are left out', () => {
  assert.deepEqual(registrationOf({ ...REGISTRATION, type: 'delete-topic' }), REGISTRATION)
  assert.deepEqual(seedStatusOf({ ...STATUS, more: 1 }), STATUS)
})

test('one field that makes no sense spoils a registration', () => {
  const long = 'x'.repeat(1025)
  const addresses = [
    undefined,
    null,
    '',
    7,
    {},
    { host: 'h' },
    { port: 1 },
    { host: '', port: 1 },
    { host: 'h', port: 65_536 },
  ]
  const cases = spoilt(REGISTRATION, {
    nodeId: [undefined, null, '7', -1, 1.5, 2 ** 31, Number.NaN],
    host: [undefined, null, '', 7, long],
    port: [undefined, '9092', -1, 65_536],
    rack: [undefined, 7, long],
    endpoints: [null, {}, [null], [{ listener: 'A' }], [{ ...PEER }], Array(65).fill(REGISTRATION.endpoints[0])],
    directoryId: [null, 7, long],
    peer: addresses.slice(2),
    shardCount: [null, 0, -1, 1.5, 1025],
    directoryEpoch: [null, -1, '0'],
  })
  for (const value of [...NO_OBJECTS, [], ...cases])
    assert.equal(registrationOf(value), undefined, JSON.stringify(value))
})

test('one field that makes no sense spoils an answer', () => {
  const answers = spoilt(ANSWER, {
    error: [undefined, null, 'NONE', 0.5],
    message: [7],
    clusterId: [null, '', 7],
    directoryEpoch: [null, -1],
    metadataIndex: [null, -1, 'x'],
    peers: [null, {}, [null], [PEER], [{ nodeId: -1, ...PEER }], Array(10_001).fill(ANSWER.peers[0])],
  })
  for (const value of [...NO_OBJECTS, ...answers]) assert.equal(registerAnswerOf(value), undefined)
  const statuses = spoilt(STATUS, { nodeId: [undefined, '1', -1], clusterId: [undefined, null, 7] })
  for (const value of [...NO_OBJECTS, ...statuses]) assert.equal(seedStatusOf(value), undefined)
  for (const value of [...NO_OBJECTS, {}, [1.5], [null], [-1]]) assert.equal(replicasOf(value), undefined)
})

test('bytes that are no JSON are nothing', () => {
  for (const bytes of ['', '{', '{"a":}', '\u0000']) assert.equal(parseJson(Buffer.from(bytes)), undefined)
  assert.equal(parseJson(Buffer.from([0x22, 0xff, 0x22])), undefined)
})
