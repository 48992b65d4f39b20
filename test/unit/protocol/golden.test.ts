// Frames written out by hand from Kafka's message definitions, byte by byte.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiKey } from '../../../protocol/api.ts'
import { decoder, encoder } from '../../../protocol/compile.ts'
import {
  readRequestHeader,
  readResponseHeader,
  writeRequestHeader,
  writeResponseHeader,
} from '../../../protocol/frame.ts'
import { ApiVersionsRequest, ApiVersionsResponse } from '../../../protocol/messages/api-versions.ts'
import { ConsumerProtocolSubscription } from '../../../protocol/messages/consumer-protocol.ts'
import { FetchRequest, FetchResponse } from '../../../protocol/messages/fetch.ts'
import { GroupMetadataValue, OffsetCommitKey, OffsetCommitValue } from '../../../protocol/messages/group-records.ts'
import { JoinGroupRequest } from '../../../protocol/messages/join-group.ts'
import { MetadataResponse } from '../../../protocol/messages/metadata.ts'
import { ProduceRequest } from '../../../protocol/messages/produce.ts'
import { Reader } from '../../../protocol/reader.ts'
import { type Fields, type Input, type Message, ZERO_UUID } from '../../../protocol/schema.ts'
import { Writer } from '../../../protocol/writer.ts'

/** Bytes from pieces: hexadecimal digits with free spacing, or text after a quote. */
function bytes(...pieces: string[]): Uint8Array {
  const parts = pieces.map((piece) =>
    piece.startsWith("'") ? Buffer.from(piece.slice(1), 'utf8') : Buffer.from(piece.replaceAll(' ', ''), 'hex'),
  )
  return new Uint8Array(Buffer.concat(parts))
}

function encoded<F extends Fields>(message: Message<F>, version: number, value: Input<F>): Uint8Array {
  const writer = new Writer()
  encoder(message, version)(writer, value)
  return new Uint8Array(writer.toBytes())
}

const TOPIC_ID = 'AAECAwQFBgcICQoLDA0ODw'
const TOPIC_ID_HEX = '00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f'

test('the first request of a Java client is read', () => {
  const frame = bytes(
    '0012 0003 00000000', // ApiVersions, version 3, correlation id 0
    '000a',
    "'producer-1", // the client id keeps its int16 length in a flexible header
    '00', // no tagged fields in the header
    '12',
    "'apache-kafka-java",
    '06',
    "'4.3.0",
    '00',
  )
  const reader = new Reader(frame)
  const header = { apiKey: ApiKey.ApiVersions, apiVersion: 3, correlationId: 0, clientId: 'producer-1' }
  const body = { clientSoftwareName: 'apache-kafka-java', clientSoftwareVersion: '4.3.0' }
  assert.deepEqual(readRequestHeader(reader), header)
  assert.deepEqual(decoder(ApiVersionsRequest, 3)(reader), body)
  assert.equal(reader.remaining, 0)

  const writer = new Writer()
  writeRequestHeader(writer, header)
  encoder(ApiVersionsRequest, 3)(writer, body)
  assert.deepEqual(new Uint8Array(writer.toBytes()), frame)
})

test('an ApiVersions answer has the oldest response header in every version', () => {
  const frame = bytes(
    '00000007', // correlation id, no tagged fields behind it
    '0000',
    '03', // two APIs
    '0000 0000 000d 00',
    '0012 0000 0004 00',
    '00000000', // throttle time
    '03', // three tagged fields
    '00 14 02', // supported features: tag 0, 20 bytes, one element
    '0e',
    "'group.version",
    '0000 0001 00',
    '01 08 0000000000000005', // finalized features epoch
    '02 14 02', // finalized features
    '0e',
    "'group.version",
    '0001 0001 00',
  )
  const writer = new Writer()
  writeResponseHeader(writer, ApiKey.ApiVersions, 4, 7)
  encoder(ApiVersionsResponse, 4)(writer, {
    errorCode: 0,
    apiKeys: [
      { apiKey: 0, minVersion: 0, maxVersion: 13 },
      { apiKey: 18, minVersion: 0, maxVersion: 4 },
    ],
    supportedFeatures: [{ name: 'group.version', minVersion: 0, maxVersion: 1 }],
    finalizedFeaturesEpoch: 5,
    finalizedFeatures: [{ name: 'group.version', maxVersionLevel: 1, minVersionLevel: 1 }],
  })
  assert.deepEqual(new Uint8Array(writer.toBytes()), frame)
})

test('a Metadata answer of version 12 has the bytes Kafka sends', () => {
  const frame = bytes(
    '00000005 00', // correlation id, no tagged fields
    '00000000', // throttle time
    '02 00000001 0a',
    "'127.0.0.1",
    '00002384 00 00', // port 9092, no rack
    '04',
    "'abc",
    '00000001', // controller
    '02 0000 02',
    "'t",
    TOPIC_ID_HEX,
    '00', // not internal
    '02 0000 00000000 00000001 00000003', // no error, partition 0, leader 1, epoch 3
    '02 00000001 02 00000001 01 00', // replicas [1], isr [1], none offline
    '80000000 00', // operations not asked for
    '00',
  )
  const reader = new Reader(frame)
  assert.equal(readResponseHeader(reader, ApiKey.Metadata, 12), 5)
  const decoded = decoder(MetadataResponse, 12)(reader)
  assert.equal(reader.remaining, 0)
  assert.deepEqual(decoded, {
    throttleTimeMs: 0,
    brokers: [{ nodeId: 1, host: '127.0.0.1', port: 9092, rack: null }],
    clusterId: 'abc',
    controllerId: 1,
    topics: [
      {
        errorCode: 0,
        name: 't',
        topicId: TOPIC_ID,
        isInternal: false,
        partitions: [
          {
            errorCode: 0,
            partitionIndex: 0,
            leaderId: 1,
            leaderEpoch: 3,
            replicaNodes: [1],
            isrNodes: [1],
            offlineReplicas: [],
          },
        ],
        topicAuthorizedOperations: -2147483648,
      },
    ],
    clusterAuthorizedOperations: -2147483648,
    errorCode: 0,
  })
  const writer = new Writer()
  writeResponseHeader(writer, ApiKey.Metadata, 12, 5)
  encoder(MetadataResponse, 12)(writer, decoded)
  assert.deepEqual(new Uint8Array(writer.toBytes()), frame)
})

test('Produce is read in its oldest, a flexible and its newest version', () => {
  const records = bytes('0102030405')
  const value = (name: string, topicId: string) => ({
    transactionalId: null,
    acks: -1,
    timeoutMs: 30_000,
    topicData: [{ name, topicId, partitionData: [{ index: 7, records }] }],
  })
  const version3 = bytes(
    'ffff ffff 00007530', // transactional id null, acks -1, 30 s
    '00000001 0001',
    "'t",
    '00000001 00000007 00000005 0102030405',
  )
  const version9 = bytes('00 ffff 00007530', '02 02', "'t", '02 00000007 06 0102030405', '00 00 00')
  const version13 = bytes('00 ffff 00007530', '02', TOPIC_ID_HEX, '02 00000007 06 0102030405', '00 00 00')
  for (const [version, frame, expected] of [
    [3, version3, value('t', ZERO_UUID)],
    [9, version9, value('t', ZERO_UUID)],
    [13, version13, value('', TOPIC_ID)],
  ] as const) {
    assert.deepEqual(decoder(ProduceRequest, version)(new Reader(frame)), expected)
    assert.deepEqual(encoded(ProduceRequest, version, expected), frame)
  }
})

test('Fetch requests are written in the oldest and the newest version', () => {
  const partition = { partition: 1, fetchOffset: 258, partitionMaxBytes: 1_048_576 }
  assert.deepEqual(
    encoded(FetchRequest, 4, { maxWaitMs: 500, minBytes: 1, topics: [{ topic: 't', partitions: [partition] }] }),
    bytes(
      'ffffffff 000001f4 00000001 7fffffff 00', // replica -1, 500 ms, 1 byte, no limit, read uncommitted
      '00000001 0001',
      "'t",
      '00000001 00000001 0000000000000102 00100000',
    ),
  )
  assert.deepEqual(
    encoded(FetchRequest, 18, {
      clusterId: 'c',
      maxWaitMs: 500,
      minBytes: 1,
      replicaState: { replicaId: 2 },
      topics: [{ topicId: TOPIC_ID, partitions: [{ ...partition, highWatermark: 9n }] }],
    }),
    bytes(
      '000001f4 00000001 7fffffff 00 00000000 ffffffff', // no session
      '02',
      TOPIC_ID_HEX,
      '02 00000001 ffffffff 0000000000000102 ffffffff ffffffffffffffff 00100000',
      '01 01 08 0000000000000009', // high watermark, tag 1
      '00',
      '01 01', // nothing forgotten, no rack
      '02 00 02 02',
      "'c",
      '01 0d 00000002 ffffffffffffffff 00', // replica state, tag 1, 13 bytes
    ),
  )
})

test('a Fetch answer of version 16 tells the new leader in tagged fields', () => {
  const frame = bytes(
    '00000000 0000 00000000', // throttle time, no error, no session
    '02',
    TOPIC_ID_HEX,
    '02 00000000 0006 ffffffffffffffff ffffffffffffffff ffffffffffffffff', // NOT_LEADER_OR_FOLLOWER
    '00 ffffffff 00', // aborted transactions null, no preferred replica, records null
    '01 01 09 00000002 00000005 00', // current leader: tag 1
    '00',
    '01 00 0d 02', // node endpoints: tag 0, 13 bytes, one element
    '00000002 02',
    "'h",
    '00002384 00 00',
  )
  const value = {
    responses: [
      {
        topicId: TOPIC_ID,
        partitions: [
          {
            partitionIndex: 0,
            errorCode: 6,
            highWatermark: -1,
            abortedTransactions: null,
            records: null,
            currentLeader: { leaderId: 2, leaderEpoch: 5 },
          },
        ],
      },
    ],
    nodeEndpoints: [{ nodeId: 2, host: 'h', port: 9092 }],
  }
  assert.deepEqual(encoded(FetchResponse, 16, value), frame)
  const decoded = decoder(FetchResponse, 16)(new Reader(frame))
  assert.deepEqual(decoded.responses[0]!.partitions[0]!.divergingEpoch, { epoch: -1, endOffset: -1 })
  assert.deepEqual(decoded.responses[0]!.partitions[0]!.currentLeader, { leaderId: 2, leaderEpoch: 5 })
})

test('a JoinGroup of version 5 is read', () => {
  const frame = bytes(
    '0001',
    "'g",
    '00002710 0000ea60', // session 10 s, rebalance 60 s
    '0000 ffff', // no member id yet, not static
    '0008',
    "'consumer",
    '00000001 0005',
    "'range",
    '00000002 cafe',
  )
  assert.deepEqual(decoder(JoinGroupRequest, 5)(new Reader(frame)), {
    groupId: 'g',
    sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 60_000,
    memberId: '',
    groupInstanceId: null,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: bytes('cafe') }],
    reason: null,
  })
})

test('group records have the bytes Kafka stores', () => {
  assert.deepEqual(
    encoded(OffsetCommitKey, 0, { group: 'g', topic: 't', partition: 3 }),
    bytes('0001', "'g", '0001', "'t", '00000003'),
  )
  const commit = { offset: 42, leaderEpoch: 1, metadata: '', commitTimestamp: 1_700_000_000_000, topicId: TOPIC_ID }
  assert.deepEqual(
    encoded(OffsetCommitValue, 4, commit),
    bytes('000000000000002a 00000001 01 0000018bcfe56800', '01 00 10', TOPIC_ID_HEX),
  )
  assert.deepEqual(
    encoded(OffsetCommitValue, 1, commit),
    bytes('000000000000002a 0000 0000018bcfe56800 ffffffffffffffff'),
  )
  assert.deepEqual(
    encoded(GroupMetadataValue, 3, {
      protocolType: 'consumer',
      generation: 2,
      protocol: 'range',
      leader: null,
      currentStateTimestamp: 5,
      members: [
        {
          memberId: 'm',
          clientId: 'c',
          clientHost: '/h',
          rebalanceTimeout: 1,
          sessionTimeout: 2,
          subscription: bytes('aa'),
          assignment: bytes(''),
        },
      ],
    }),
    bytes(
      '0008',
      "'consumer",
      '00000002 0005',
      "'range",
      'ffff 0000000000000005 00000001',
      '0001',
      "'m",
      'ffff 0001',
      "'c",
      '0002',
      "'/h",
      '00000001 00000002 00000001 aa 00000000',
    ),
  )
})

test('a consumer\u2019s subscription is read', () => {
  const frame = bytes('00000001 0001', "'t", 'ffffffff 00000001 0001', "'t", '00000002 00000000 00000004 00000009 ffff')
  assert.deepEqual(decoder(ConsumerProtocolSubscription, 3)(new Reader(frame)), {
    topics: ['t'],
    userData: null,
    ownedPartitions: [{ topic: 't', partitions: [0, 4] }],
    generationId: 9,
    rackId: null,
  })
})
