import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeMembership, Membership } from '../../../../broker/raft/membership.ts'
import { Entry, EntryKind, type Message } from '../../../../broker/raft/types.ts'
import { PeerReader } from '../../../../broker/replication/peer-wire.ts'
import {
  NO_PAYLOADS,
  type Payloads,
  RaftHeader,
  readMessage,
  takePayload,
  writeMessage,
} from '../../../../broker/replication/raft-codec.ts'
import { decodeSnapshot, encodeSnapshot, ownerSnapshot } from '../../../../broker/replication/snapshot-blob.ts'
import { stampBatch } from '../../../../protocol/records/batch.ts'
import { encodeBatch } from '../../../../protocol/records/record.ts'
import { SeededRandom } from '../../../sim/random.ts'
import { FakeWriter } from './world.ts'

function encoded(message: Exclude<Message, { type: 'snapshot' }>, payloads: Payloads = NO_PAYLOADS): Buffer {
  let body: Buffer = Buffer.alloc(0)
  const writer = new FakeWriter((bytes) => {
    body = bytes
  })
  writeMessage(writer, 77, 2 ** 32 + 3, 5, message, payloads)
  writer.end()
  return body
}

function decoded(body: Buffer): Message | undefined {
  const reader = new PeerReader(body)
  const header = new RaftHeader().read(reader)
  assert.deepEqual([header.groupId, header.fromEpoch, header.toEpoch], [77, 1, 0])
  return readMessage(header, reader)
}

function appendOfAll(): { message: Extract<Message, { type: 'append' }>; payloads: Payloads; released: () => number } {
  const batch = encodeBatch({ records: [{ timestamp: 1, value: Buffer.alloc(2000, 7) }, { timestamp: 2 }] })
  stampBatch(batch, 0, 40, 6)
  const membership = new Membership([1, 2, 3], [4])
  const views = [new Uint8Array(0), encodeMembership(membership), batch, Buffer.from('command')]
  const entries = [
    new Entry(11, 6, 1, EntryKind.LeaderChange, 0, undefined),
    new Entry(12, 6, 1, EntryKind.Membership, 0, membership),
    new Entry(13, 6, 2, EntryKind.Batch, batch.length, undefined),
    new Entry(15, 7, 1, EntryKind.Command, 7, undefined),
  ]
  let holders = 0
  const payloads: Payloads = {
    views,
    retain: () => {
      holders += 1
    },
    release: () => {
      holders -= 1
    },
  }
  const message = { type: 'append', term: 7, prevIndex: 10, prevTerm: 5, commitIndex: 9, entries } as const
  return { message, payloads, released: () => holders }
}

test('every message comes back as it was', () => {
  const messages: Exclude<Message, { type: 'snapshot' }>[] = [
    { type: 'append', term: 7, prevIndex: 2 ** 50, prevTerm: 7, commitIndex: 3, entries: [] },
    { type: 'append-reply', term: 7, rejected: false, index: 12, hintIndex: 0, hintTerm: 0 },
    { type: 'append-reply', term: 7, rejected: true, index: 12, hintIndex: -1, hintTerm: 2 },
    { type: 'heartbeat', term: 1, commitIndex: 4, context: 99 },
    { type: 'heartbeat-reply', term: 1, commitIndex: 4, context: 99 },
    { type: 'vote-request', term: 8, lastIndex: 9, lastTerm: 7, pre: true, transfer: false },
    { type: 'vote-request', term: 8, lastIndex: 9, lastTerm: 7, pre: false, transfer: true },
    { type: 'vote-reply', term: 8, pre: true, granted: false },
    { type: 'vote-reply', term: 8, pre: false, granted: true },
    { type: 'timeout-now', term: 0x7fff_ffff },
  ]
  for (const message of messages) assert.deepEqual(decoded(encoded(message)), message)
})

test('an append tells where the log of its sender begins, and says nothing of a log that begins at 0', () => {
  const message = { type: 'append', term: 7, prevIndex: 9, prevTerm: 7, commitIndex: 3, entries: [] } as const
  for (const offset of [0, 2 ** 40]) {
    let body: Buffer = Buffer.alloc(0)
    const writer = new FakeWriter((bytes) => {
      body = bytes
    })
    writeMessage(writer, 77, 3, 5, message, NO_PAYLOADS, false, offset)
    writer.end()
    const reader = new PeerReader(body)
    const header = new RaftHeader().read(reader)
    header.logStartOffset = 1
    assert.deepEqual(readMessage(header, reader), message)
    assert.equal(reader.hasMore, false)
    assert.equal(header.logStartOffset, offset)
    assert.equal(body.length, encoded(message).length + (offset > 0 ? 8 : 0))
  }
})

test('entries of every kind come back, batches as views of the message', () => {
  const { message, payloads, released } = appendOfAll()
  const body = encoded(message, payloads)
  assert.equal(released(), 0, 'what was attached is let go of when the message has left')
  const back = decoded(body)
  assert.ok(back?.type === 'append')
  assert.deepEqual(
    back.entries.map(({ index, term, count, kind }) => [index, term, count, kind]),
    message.entries.map(({ index, term, count, kind }) => [index, term, count, kind]),
  )
  assert.ok((back.entries[1]!.ref as Membership).equals(new Membership([1, 2, 3], [4])))
  assert.deepEqual(Buffer.from(takePayload(back.entries[2]!)), Buffer.from(payloads.views[2]!))
  assert.equal(takePayload(back.entries[2]!).length, 0, 'the frame is not kept by an entry that waits for its commit')
  assert.equal(Buffer.from(takePayload(back.entries[3]!)).toString(), 'command')
})

test('a message that is cut off anywhere is refused', () => {
  const { message, payloads } = appendOfAll()
  const body = encoded(message, payloads)
  for (let length = 0; length < body.length; length++) {
    assert.throws(
      () => decoded(Buffer.from(body.subarray(0, length))),
      /Malformed|bytes|entr|cut|batch|kind/i,
      `${length}`,
    )
  }
})

test('bytes changed by chance are refused or decode to something well-formed', () => {
  const random = new SeededRandom(5)
  const { message, payloads } = appendOfAll()
  const body = encoded(message, payloads)
  let refused = 0
  for (let round = 0; round < 5000; round++) {
    const changed = Buffer.from(body)
    changed[random.below(changed.length)] = random.below(256)
    try {
      const reader = new PeerReader(changed)
      const back = readMessage(new RaftHeader().read(reader), reader)
      if (back?.type !== 'append') continue
      let next = back.prevIndex + 1
      for (const entry of back.entries) {
        assert.equal(entry.index, next)
        next += entry.count
        assert.ok(entry.term <= back.term && entry.count >= 1)
      }
    } catch (error) {
      if (!(error instanceof Error) || error.name === 'AssertionError') throw error
      assert.notEqual(error.name, 'InvariantViolation')
      refused += 1
    }
  }
  assert.ok(refused > 50)
})

test('a batch that is not as long, or takes not as many offsets, as its entry says is refused', () => {
  const { message, payloads } = appendOfAll()
  const [, , batch] = message.entries
  const wrong = [
    new Entry(11, 6, 3, EntryKind.Batch, batch!.bytes, undefined),
    new Entry(11, 5, 2, EntryKind.Batch, batch!.bytes, undefined),
  ]
  for (const entry of wrong) {
    const one: Payloads = { ...payloads, views: [payloads.views[2]!] }
    assert.throws(() => decoded(encoded({ ...message, entries: [entry] }, one)), /batch/)
  }
  const short: Payloads = { ...payloads, views: [payloads.views[2]!.subarray(0, 100)] }
  assert.throws(() => decoded(encoded({ ...message, entries: [batch!] }, short)), /batch/)
})

test('a snapshot holds the members and the state; those of earlier releases hold the state alone', () => {
  const membership = new Membership([1, 2], [3])
  const bytes = encodeSnapshot(12, membership, Buffer.from('state'))
  const { placed, owner } = decodeSnapshot(bytes)
  assert.equal(placed?.index, 12)
  assert.ok(placed?.membership.equals(membership))
  assert.equal(Buffer.from(owner).toString(), 'state')
  assert.equal(ownerSnapshot(encodeSnapshot(0, membership, new Uint8Array(0))), undefined)
  for (const earlier of [Buffer.from([1, 0, 0]), Buffer.from('{"format":1}')]) {
    assert.deepEqual(decodeSnapshot(earlier), { placed: undefined, owner: earlier })
  }
  for (let length = 1; length < bytes.length - 5; length++)
    assert.throws(() => decodeSnapshot(bytes.subarray(0, length)))
})
