import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decoder, encoder } from '../../../protocol/compile.ts'
import { Reader } from '../../../protocol/reader.ts'
import { includes, type Message } from '../../../protocol/schema.ts'
import { Writer } from '../../../protocol/writer.ts'
import { allMessages, versionsOf } from './all-messages.ts'
import { randomMessage, referenceEncode, SeededRandom, seedOfRun } from './random-message.ts'

const ROUNDS = 12
const seed = seedOfRun()

function encode(message: Message, version: number, input: { readonly [name: string]: unknown }): Uint8Array {
  // A small start makes the writer grow.
  const writer = new Writer(16)
  encoder(message, version)(writer, input)
  const bytes = writer.toBytes()
  assert.equal(writer.byteLength, bytes.length)
  return bytes
}

function decodeAll(message: Message, version: number, bytes: Uint8Array): unknown {
  // The frame lies in the middle of a larger buffer, as it does in a socket's read buffer.
  const around = new Uint8Array(bytes.length + 20).fill(0xee)
  around.set(bytes, 7)
  const reader = new Reader(around, 7, 7 + bytes.length)
  const value = decoder(message, version)(reader)
  assert.equal(reader.remaining, 0, `${message.name} v${version} leaves bytes unread`)
  return value
}

test('every version of every message decodes to what was encoded, in the bytes the format prescribes', (t) => {
  t.diagnostic(`MILLRACE_SEED=${seed}`)
  for (const [index, message] of allMessages.entries()) {
    const random = new SeededRandom(seed + index)
    for (const version of versionsOf(message)) {
      for (let round = 0; round < ROUNDS; round++) {
        const where = `${message.name} v${version} round ${round}, MILLRACE_SEED=${seed}`
        const { input, decoded } = randomMessage(random, message, version)
        const bytes = encode(message, version, input)
        assert.ok(Buffer.compare(bytes, referenceEncode(message, version, decoded)) === 0, `bytes of ${where}`)
        assert.deepEqual(decodeAll(message, version, bytes), decoded, where)
      }
    }
  }
})

test('tagged fields nobody knows are skipped, and known ones may hold their default', (t) => {
  t.diagnostic(`MILLRACE_SEED=${seed}`)
  for (const [index, message] of allMessages.entries()) {
    const random = new SeededRandom(seed + 1000 + index)
    for (const version of versionsOf(message)) {
      if (!includes(message.flexible, version)) continue
      const { decoded } = randomMessage(random, message, version)
      for (const options of [{ unknownTags: true }, { allTags: true }, { unknownTags: true, allTags: true }]) {
        const bytes = referenceEncode(message, version, decoded, options)
        assert.deepEqual(
          decodeAll(message, version, bytes),
          decoded,
          `${message.name} v${version}, MILLRACE_SEED=${seed}`,
        )
      }
    }
  }
})

test('every version of a message yields objects with the same fields in the same order', () => {
  for (const message of allMessages) {
    const names = Object.keys(message.fields)
    for (const version of versionsOf(message)) {
      const value = decodeAll(message, version, encode(message, version, {})) as object
      assert.deepEqual(Object.keys(value), names, `${message.name} v${version}`)
    }
  }
})

test('an empty object encodes to the defaults of every field', () => {
  for (const message of allMessages) {
    for (const version of versionsOf(message)) {
      const bytes = encode(message, version, {})
      const again = encode(message, version, decodeAll(message, version, bytes) as Record<string, unknown>)
      assert.deepEqual(again, bytes, `${message.name} v${version}`)
    }
  }
})

test('every frame cut short is refused', (t) => {
  t.diagnostic(`MILLRACE_SEED=${seed}`)
  for (const [index, message] of allMessages.entries()) {
    const random = new SeededRandom(seed + 2000 + index)
    for (const version of versionsOf(message)) {
      const bytes = encode(message, version, randomMessage(random, message, version).input)
      const decode = decoder(message, version)
      for (let cut = 0; cut < 40 && cut < bytes.length; cut++) {
        const end = random.below(bytes.length)
        assert.throws(
          () => decode(new Reader(bytes, 0, end)),
          { name: 'MalformedFrame' },
          `${message.name} v${version}`,
        )
      }
    }
  }
})
