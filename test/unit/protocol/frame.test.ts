import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiKey, apiName, isServed, SERVED_APIS, servedApi } from '../../../protocol/api.ts'
import { ErrorCode, errorName, isErrorCode, isRetriable } from '../../../protocol/errors.ts'
import {
  readRequestHeader,
  readResponseHeader,
  writeRequestHeader,
  writeResponseHeader,
} from '../../../protocol/frame.ts'
import { Reader } from '../../../protocol/reader.ts'
import { Writer } from '../../../protocol/writer.ts'

const malformed = { name: 'MalformedFrame' }

function reader(hex: string): Reader {
  return new Reader(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
}

test('the header follows the version: tagged fields from the first flexible one on', () => {
  const old = reader('0003 0008 00000005 ffff ee')
  assert.deepEqual(readRequestHeader(old), { apiKey: 3, apiVersion: 8, correlationId: 5, clientId: null })
  assert.equal(old.remaining, 1)
  const flexible = reader('0003 0009 00000005 0002 6d65 01 07 02 aaaa ee')
  assert.deepEqual(readRequestHeader(flexible), { apiKey: 3, apiVersion: 9, correlationId: 5, clientId: 'me' })
  assert.equal(flexible.remaining, 1)
})

test('APIs that are never flexible have the old header in every version', () => {
  const header = reader('0011 0001 00000005 0000 ee')
  assert.equal(readRequestHeader(header).apiKey, ApiKey.SaslHandshake)
  assert.equal(header.remaining, 1)
})

test('an ApiVersions request of a version nobody knows yet still has a header', () => {
  const header = readRequestHeader(reader('0012 0063 00000009 ffff 00'))
  assert.deepEqual(header, { apiKey: ApiKey.ApiVersions, apiVersion: 99, correlationId: 9, clientId: null })
})

test('an unknown api key and a header cut short are refused', () => {
  assert.throws(() => readRequestHeader(reader('0034 0000 00000005 ffff')), malformed)
  assert.throws(() => readRequestHeader(reader('ffff 0000 00000005 ffff')), malformed)
  assert.throws(() => readRequestHeader(reader('0003 0009 00000005 ffff')), malformed)
  assert.throws(() => readRequestHeader(reader('0003 00')), malformed)
})

test('what is written as a header is read as one, for every API and version', () => {
  for (const apiKey of Object.values(ApiKey)) {
    for (let apiVersion = 0; apiVersion < 20; apiVersion++) {
      const header = { apiKey, apiVersion, correlationId: 123_456, clientId: apiVersion % 2 === 0 ? null : 'client' }
      const request = new Writer()
      writeRequestHeader(request, header)
      const requestReader = new Reader(request.toBytes())
      assert.deepEqual(readRequestHeader(requestReader), header)
      assert.equal(requestReader.remaining, 0)
      const response = new Writer()
      writeResponseHeader(response, apiKey, apiVersion, -5)
      const responseReader = new Reader(response.toBytes())
      assert.equal(readResponseHeader(responseReader, apiKey, apiVersion), -5)
      assert.equal(responseReader.remaining, 0)
    }
  }
})

test('Produce 0 to 2 is advertised but not served', () => {
  const produce = servedApi(ApiKey.Produce)!
  assert.equal(produce.advertisedMinVersion, 0)
  assert.equal(isServed(ApiKey.Produce, 2), false)
  assert.equal(isServed(ApiKey.Produce, 3), true)
  assert.equal(isServed(ApiKey.Produce, 14), false)
  assert.equal(isServed(ApiKey.InitProducerId, 6), false)
  assert.equal(isServed(ApiKey.EndTxn, 0), false)
  assert.equal(isServed(999, 0), false)
})

test('what is served is listed once, in the order of keys', () => {
  const keys = SERVED_APIS.map((api) => api.apiKey)
  assert.deepEqual(
    keys,
    [...new Set(keys)].sort((left, right) => left - right),
  )
})

test('names are told for keys and codes, also for those nobody knows', () => {
  assert.equal(apiName(ApiKey.OffsetForLeaderEpoch), 'OffsetForLeaderEpoch')
  assert.equal(apiName(999), 'UNKNOWN(999)')
  assert.equal(errorName(ErrorCode.NOT_LEADER_OR_FOLLOWER), 'NOT_LEADER_OR_FOLLOWER')
  assert.equal(errorName(12_345), 'UNKNOWN_SERVER_ERROR')
  assert.equal(isErrorCode(12_345), false)
  assert.equal(isRetriable(ErrorCode.NOT_LEADER_OR_FOLLOWER), true)
  assert.equal(isRetriable(ErrorCode.TOPIC_AUTHORIZATION_FAILED), false)
})
