// Reading segment files without a broker, whole and damaged ones, and what group records say.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { decodeGroupRecord } from '../../../../broker/cli/offsets-decoder.ts'
import { segmentItems } from '../../../../broker/cli/segment-file.ts'
import { encoder } from '../../../../protocol/compile.ts'
import { OffsetCommitKey, OffsetCommitValue } from '../../../../protocol/messages/group-records.ts'
import { baseOffsetOf } from '../../../../protocol/records/batch.ts'
import { encodeBatch } from '../../../../protocol/records/record.ts'
import type { Fields, Input, Message } from '../../../../protocol/schema.ts'
import { Writer } from '../../../../protocol/writer.ts'

let directory: string

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-segment-'))
})

after(() => rmSync(directory, { recursive: true, force: true }))

const batches = [0, 1, 2].map((baseOffset) => encodeBatch({ baseOffset, records: [{ value: `v${baseOffset}` }] }))

async function read(...pieces: Uint8Array[]): Promise<unknown[]> {
  const file = join(directory, 'segment.log')
  writeFileSync(file, Buffer.concat(pieces))
  const items: unknown[] = []
  for await (const item of segmentItems(file)) {
    items.push(item.kind === 'batch' ? [item.position, baseOffsetOf(item.bytes, 0), item.bytes.length] : item)
  }
  return items
}

test('batches come in order with their positions', async () => {
  const size = batches[0]?.length ?? 0
  assert.deepEqual(await read(...batches), [
    [0, 0, size],
    [size, 1, size],
    [2 * size, 2, size],
  ])
  assert.deepEqual(await read(), [])
})

test('a batch larger than the window is read whole', async () => {
  const large = encodeBatch({ baseOffset: 3, records: [{ value: Buffer.alloc(9 << 20, 'x') }] })
  const size = batches[0]?.length ?? 0
  assert.deepEqual(await read(batches[0]!, large), [
    [0, 0, size],
    [size, 3, large.length],
  ])
})

test('zeros after the last batch are space that is reserved, anything else is damage', async () => {
  const size = batches[0]?.length ?? 0
  const rest = (zeros: boolean, restBytes: number) => ({ kind: 'rest', position: size, restBytes, zeros })
  assert.deepEqual((await read(batches[0]!, Buffer.alloc(5000)))[1], rest(true, 5000))
  assert.deepEqual((await read(batches[0]!, Buffer.alloc(30, 1)))[1], rest(false, 30))
  assert.deepEqual((await read(batches[0]!, batches[1]!.subarray(0, size - 1)))[1], rest(false, size - 1))
})

function typed<F extends Fields>(type: number, message: Message<F>, version: number, value: Input<F>): Uint8Array {
  const writer = new Writer()
  writer.int16(type)
  encoder(message, version)(writer, value)
  return writer.toBytes()
}

test('a committed offset is read from its record', () => {
  const key = typed(1, OffsetCommitKey, 0, { group: 'g', topic: 't', partition: 2 })
  const value = typed(3, OffsetCommitValue, 3, { offset: 7, leaderEpoch: 1, metadata: 'm', commitTimestamp: 9 })
  const decoded = decodeGroupRecord(key, value)
  assert.equal(decoded.type, 'offset-commit')
  assert.deepEqual({ ...(decoded.key as object) }, { group: 'g', topic: 't', partition: 2 })
  const { version, offset, leaderEpoch, metadata } = decoded.value as Record<string, unknown>
  assert.deepEqual({ version, offset, leaderEpoch, metadata }, { version: 3, offset: 7, leaderEpoch: 1, metadata: 'm' })
  assert.equal(decodeGroupRecord(key, null).value, null)
})

test('records of unknown types, versions or with cut bytes are shown as they are', () => {
  const key = typed(1, OffsetCommitKey, 0, { group: 'g', topic: 't', partition: 2 })
  assert.deepEqual(decodeGroupRecord(Buffer.from([0, 99]), null), { type: 'unknown', key: '0063', value: null })
  assert.deepEqual(decodeGroupRecord(key.subarray(0, 4), null).type, 'unknown')
  assert.deepEqual(decodeGroupRecord(key, Buffer.from([0, 50])).value, { version: 50, bytes: '0032' })
  assert.deepEqual(decodeGroupRecord(null, null), { type: 'unknown', key: null, value: null })
})
