// What Kafka does with frames: which it answers, which it closes for, what it reads over. And every version that is served
// answers a plain request, with and without bytes that nobody knows.
//
// Each expectation is checked against Apache Kafka 4.3 with MILLRACE_TEST_BROKER=kafka. Where Millrace differs on purpose,
// the test says why.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { type ApiKey, apiName, flexibleSince, SERVED_APIS } from '../../protocol/api.ts'
import { decoder, encoder } from '../../protocol/compile.ts'
import { ErrorCode } from '../../protocol/errors.ts'
import { readResponseHeader, writeRequestHeader } from '../../protocol/frame.ts'
import { Reader } from '../../protocol/reader.ts'
import { type Fields, type Input, type Message, ZERO_UUID } from '../../protocol/schema.ts'
import { Writer } from '../../protocol/writer.ts'
import { eventually } from '../support/process.ts'
import { Bytes, frame, RawConnection, recordBatch } from '../support/raw.ts'
import {
  type ApiPair,
  api,
  Bench,
  coordinated,
  isClosedBy,
  type NewTopic,
  newTopic,
  type Wire,
} from '../support/wire.ts'
import { referenceEncode } from '../unit/protocol/random-message.ts'

describe('frames', () => {
  const bench = new Bench()
  let wire: Wire
  let topic: NewTopic

  before(async () => {
    wire = await bench.open()
    topic = await newTopic(wire, bench.name('frames'))
    await coordinated(wire, 'frames')
  })

  /** A small request of every API; what it names may be unknown, the answer is whole all the same. */
  function plainRequests(): Map<number, { pair: ApiPair<Fields, Fields>; body: () => object }> {
    const requests = new Map<number, { pair: ApiPair<Fields, Fields>; body: () => object }>()
    const add = <Q extends Fields, A extends Fields>(pair: ApiPair<Q, A>, body: () => Input<Q>) => {
      requests.set(pair.request.apiKey, { pair: pair as unknown as ApiPair<Fields, Fields>, body })
    }
    const { name, id } = topic
    const group = () => bench.name('frames-group')
    const records = recordBatch({ values: [Buffer.from('x')] })
    add(api.produce, () => ({
      acks: -1,
      timeoutMs: 10_000,
      topicData: [{ name, topicId: id, partitionData: [{ index: 0, records }] }],
    }))
    add(api.fetch, () => ({
      maxWaitMs: 0,
      minBytes: 1,
      topics: [{ topic: name, topicId: id, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1000 }] }],
    }))
    add(api.listOffsets, () => ({
      replicaId: -1,
      topics: [{ name, partitions: [{ partitionIndex: 0, timestamp: -2 }] }],
      timeoutMs: 1000,
    }))
    add(api.metadata, () => ({ topics: [{ name }] }))
    add(api.offsetCommit, () => ({
      groupId: group(),
      memberId: '',
      topics: [{ name, topicId: id, partitions: [{ partitionIndex: 0, committedOffset: 1, committedMetadata: null }] }],
    }))
    add(api.offsetFetch, () => ({
      groupId: 'frames',
      topics: [{ name, partitionIndexes: [0] }],
      groups: [{ groupId: 'frames', topics: [{ name, topicId: id, partitionIndexes: [0] }] }],
    }))
    add(api.findCoordinator, () => ({ key: 'frames', coordinatorKeys: ['frames', 'others'] }))
    const metadata = new Bytes().int16(0).int32(1).string(name).bytes(null).done()
    add(api.joinGroup, () => ({
      groupId: group(),
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 10_000,
      memberId: '',
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata }],
    }))
    const member = { groupId: 'frames-unknown', generationId: 1, memberId: 'nobody' }
    add(api.heartbeat, () => member)
    add(api.leaveGroup, () => ({ ...member, members: [{ memberId: 'nobody' }] }))
    add(api.syncGroup, () => ({ ...member, protocolType: 'consumer', protocolName: 'range', assignments: [] }))
    add(api.describeGroups, () => ({ groups: ['frames-unknown'] }))
    add(api.listGroups, () => ({ typesFilter: ['none'] }))
    add(api.apiVersions, () => ({ clientSoftwareName: 'conformance', clientSoftwareVersion: '1.0' }))
    const newOne = { numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }
    add(api.createTopics, () => ({ topics: [{ name: bench.name('frames'), ...newOne }], validateOnly: true }))
    const unknown = bench.name('frames-unknown')
    add(api.deleteTopics, () => ({
      topics: [{ name: unknown, topicId: ZERO_UUID }],
      topicNames: [unknown],
      timeoutMs: 10_000,
    }))
    add(api.deleteRecords, () => ({
      topics: [{ name, partitions: [{ partitionIndex: 0, offset: 0 }] }],
      timeoutMs: 10_000,
    }))
    add(api.initProducerId, () => ({ transactionalId: null, transactionTimeoutMs: 1000 }))
    add(api.offsetForLeaderEpoch, () => ({ topics: [{ topic: name, partitions: [{ partition: 0, leaderEpoch: 0 }] }] }))
    const resource = { resourceType: 2, resourceName: name }
    add(api.describeConfigs, () => ({
      resources: [{ ...resource, configurationKeys: null }],
      includeDocumentation: true,
    }))
    add(api.alterConfigs, () => ({ resources: [{ ...resource, configs: [] }], validateOnly: true }))
    add(api.incrementalAlterConfigs, () => ({ resources: [{ ...resource, configs: [] }], validateOnly: true }))
    add(api.describeLogDirs, () => ({ topics: [{ topic: name, partitions: [0] }] }))
    add(api.createPartitions, () => ({
      topics: [{ name, count: 2, assignments: null }],
      timeoutMs: 10_000,
      validateOnly: true,
    }))
    add(api.deleteGroups, () => ({ groupsNames: ['frames-unknown'] }))
    add(api.offsetDelete, () => ({
      groupId: 'frames-unknown',
      topics: [{ name, partitions: [{ partitionIndex: 0 }] }],
    }))
    add(api.describeCluster, () => ({ includeClusterAuthorizedOperations: true }))
    add(api.describeProducers, () => ({ topics: [{ name, partitionIndexes: [0] }] }))
    add(api.describeTopicPartitions, () => ({ topics: [{ name }] }))
    add(api.electLeaders, () => ({ topicPartitions: [{ topic: name, partitions: [0] }], timeoutMs: 10_000 }))
    add(api.alterPartitionReassignments, () => ({
      topics: [{ name, partitions: [{ partitionIndex: 0, replicas: null }] }],
    }))
    add(api.listPartitionReassignments, () => ({ topics: [{ name, partitionIndexes: [0] }] }))
    add(api.describeQuorum, () => ({
      topics: [{ topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] }],
    }))
    add(api.unregisterBroker, () => ({ brokerId: 77 }))
    return requests
  }

  /** As the plain frame, with tagged fields nobody knows in header and body, and bytes behind the body. */
  function decorated(request: Message, apiVersion: number, body: object, correlationId: number): Buffer {
    const apiKey = request.apiKey as ApiKey
    const header = new Writer()
    writeRequestHeader(header, { apiKey, apiVersion, correlationId, clientId: null })
    const writer = new Writer()
    encoder(request, apiVersion)(writer, body as Input<Fields>)
    const whole = decoder(request, apiVersion)(new Reader(writer.toBytes()))
    const bodyBytes = referenceEncode(request, apiVersion, whole, { unknownTags: true, allTags: false })
    const isFlexible = apiVersion >= flexibleSince(apiKey)
    const headerBytes = Buffer.from(header.toBytes())
    // The header's list of tagged fields is empty, one zero byte at its end: here it holds tag 99 with two bytes.
    const tags = isFlexible ? Buffer.from([1, 99, 2, 0xaa, 0xbb]) : Buffer.alloc(0)
    const head = isFlexible ? headerBytes.subarray(0, -1) : headerBytes
    return Buffer.concat([head, tags, bodyBytes, Buffer.from('left over')])
  }

  function errorCodes(value: unknown): number[] {
    if (Array.isArray(value)) return value.flatMap(errorCodes)
    if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return []
    return Object.entries(value).flatMap(([key, member]) =>
      key === 'errorCode' ? [Number(member)] : errorCodes(member),
    )
  }

  for (const { apiKey, minVersion, maxVersion } of SERVED_APIS) {
    test(`${apiName(apiKey)} answers at each version, unknown tagged fields and trailing bytes or not`, async () => {
      const found = plainRequests().get(apiKey)
      assert.ok(found, 'there is a plain request for it')
      const { pair, body } = found
      const connection = await bench.open()
      for (let version = minVersion; version <= maxVersion; version++) {
        const plain = await connection.call(pair, version, body() as Input<Fields>)
        connection.sendFrame(decorated(pair.request, version, body(), 4711))
        const answer = await connection.answer(pair.response, apiKey, version, 4711)
        assert.deepEqual(errorCodes(answer), errorCodes(plain), `v${version}`)
      }
    })
  }

  test('a null client id is taken in every header version', async () => {
    for (const version of [0, 1, 8, 9, 13]) {
      const answer = await wire.call(api.metadata, version, { topics: [{ name: topic.name }] }, { clientId: null })
      assert.equal(answer.topics[0]?.errorCode, ErrorCode.NONE, `v${version}`)
    }
  })

  const closing: [string, Buffer][] = [
    ['a frame of negative size', Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ['a frame of size 0', Buffer.alloc(4)],
    ['a frame beyond socket.request.max.bytes', Buffer.from([0x06, 0x40, 0x00, 0x01])],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: here\r\n\r\n')],
    ['an unknown api key', frame(999, 0, 1, Buffer.alloc(0))],
    ['an api key of controllers', frame(52, 0, 1, Buffer.alloc(40))],
    ['a version above the range', frame(3, 99, 1, Buffer.alloc(8))],
    ['a version below the range', frame(0, 2, 1, Buffer.alloc(20))],
    ['an unstable version', frame(22, 6, 1, Buffer.alloc(20))],
    ['a body that is too short', frame(3, 1, 1, Buffer.from([0, 0, 0, 5]))],
  ]
  for (const [what, bytes] of closing) {
    test(`${what} closes the connection without an answer`, async () => {
      const { connection } = await bench.open()
      const asWire = { connection } as Wire
      assert.ok(await isClosedBy(asWire, () => connection.write(bytes)))
    })
  }

  test('ApiVersions beyond 4 is answered in version 0 with UNSUPPORTED_VERSION, one entry, and the connection goes on', async () => {
    const connection = await RawConnection.open(bench.target.port, bench.target.host)
    // Header v2 ends with its tagged fields, none here; then the body, empty or of a layout that nobody knows.
    for (const body of [Buffer.of(0), Buffer.of(0, 7, 7, 7)]) {
      connection.write(frame(18, 9, 7, body))
      const answer = await connection.next()
      const reader = new Reader(answer)
      assert.equal(readResponseHeader(reader, 18 as ApiKey, 0), 7)
      const { errorCode, apiKeys } = decoder(api.apiVersions.response, 0)(reader)
      assert.deepEqual(
        [errorCode, apiKeys],
        [ErrorCode.UNSUPPORTED_VERSION, [{ apiKey: 18, minVersion: 0, maxVersion: 4 }]],
      )
      assert.equal(reader.remaining, 0)
    }
    const listed = await new Promise<number>((resolve) => {
      connection.request(18, 0, Buffer.alloc(0)).then((cursor) => resolve(cursor.int16()))
    })
    assert.equal(listed, ErrorCode.NONE)
    connection.close()
  })

  test('ApiVersions refuses software names that are none, and the connection goes on', async () => {
    for (const version of [3, 4]) {
      for (const [name, software] of [
        ['', '1'],
        ['a b!', '1'],
        ['good', ''],
        ['good', '-1'],
        ['-', '1'],
      ] as const) {
        const answer = await wire.call(api.apiVersions, version, {
          clientSoftwareName: name,
          clientSoftwareVersion: software,
        })
        assert.deepEqual([answer.errorCode, answer.apiKeys], [ErrorCode.INVALID_REQUEST, []], `'${name}' '${software}'`)
      }
      const fine = await wire.call(api.apiVersions, version, {
        clientSoftwareName: 'a-b.c',
        clientSoftwareVersion: '1.0',
      })
      assert.equal(fine.errorCode, ErrorCode.NONE)
    }
  })

  test('ApiVersions lists Produce from version 0, and from version 4 features that begin at 0', async () => {
    const atThree = await wire.call(api.apiVersions, 3, { clientSoftwareName: 'a', clientSoftwareVersion: '1' })
    const atFour = await wire.call(api.apiVersions, 4, { clientSoftwareName: 'a', clientSoftwareVersion: '1' })
    for (const answer of [atThree, atFour]) {
      assert.deepEqual(
        answer.apiKeys.find(({ apiKey }) => apiKey === 0),
        { apiKey: 0, minVersion: 0, maxVersion: 13 },
      )
      assert.deepEqual(
        answer.apiKeys.map(({ apiKey }) => apiKey),
        answer.apiKeys.map(({ apiKey }) => apiKey).toSorted((left, right) => left - right),
      )
    }
    assert.ok(atThree.supportedFeatures.every(({ minVersion }) => minVersion > 0))
    assert.deepEqual(
      atFour.finalizedFeatures.map(({ name }) => name).sort(),
      atThree.finalizedFeatures.map(({ name }) => name).sort(),
    )
  })

  test('requests of one connection are answered in order, a long poll first', async () => {
    const poll = wire.send(api.fetch.request, 11, {
      maxWaitMs: 300,
      minBytes: 1_000_000,
      topics: [{ topic: topic.name, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 10 }] }],
    })
    const behind = wire.send(api.metadata.request, 9, { topics: [] })
    await wire.answer(api.fetch.response, 1, 11, poll)
    await wire.answer(api.metadata.response, 3, 9, behind)
  })

  test('a Produce with acks 0 has no answer, and keeps its place', async () => {
    const records = recordBatch({ values: [Buffer.from('unanswered')] })
    const before = await wire.call(api.listOffsets, 1, latest())
    wire.send(api.produce.request, 9, {
      acks: 0,
      timeoutMs: 1000,
      topicData: [{ name: topic.name, partitionData: [{ index: 0, records }] }],
    })
    const behind = await wire.call(api.metadata, 9, { topics: [] })
    assert.deepEqual(behind.topics, [])
    const end = (before.topics[0]?.partitions[0]?.offset ?? -1) + 1
    await eventually('the record', 10_000, async () => {
      const now = await wire.call(api.listOffsets, 1, latest())
      return now.topics[0]?.partitions[0]?.offset === end ? true : undefined
    })
  })

  function latest() {
    return { replicaId: -1, topics: [{ name: topic.name, partitions: [{ partitionIndex: 0, timestamp: -1 }] }] }
  }
})
