// Promises about the disk: which of them leave, when, and which never do.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Envelope } from '../../../../broker/raft/types.ts'
import { dropAcks, keepPromises, makePromises } from '../../../../broker/replication/promises.ts'
import type { Promised, Replica } from '../../../../broker/replication/replica.ts'

class Bench {
  /** Block being filled, and the newest one on disk. */
  readonly log = { roundSequence: 1, journaledSequence: 0 }
  promises: Promised[] | undefined = undefined
  readonly left: string[] = []
  /** Something happens while a promise leaves. */
  onLeave: (() => void) | undefined

  get replica(): Replica {
    return this as unknown as Replica
  }

  readonly #keep = (_replica: Replica, { to, message }: Envelope): void => {
    this.left.push(`${message.type} ${message.type === 'append-reply' ? message.index : message.term} to ${to}`)
    this.onLeave?.()
  }

  make(...envelopes: Envelope[]): void {
    makePromises(this.replica, envelopes, this.#keep)
  }

  durable(sequence: number): string[] {
    this.log.journaledSequence = sequence
    keepPromises(this.replica, this.#keep)
    return this.left.splice(0)
  }
}

function ack(to: number, index: number, term = 1): Envelope {
  return { to, message: { type: 'append-reply', term, rejected: false, index, hintIndex: 0, hintTerm: 0 } }
}

function vote(to: number, term: number): Envelope {
  return { to, message: { type: 'vote-reply', term, pre: false, granted: true } }
}

test('a promise leaves with the block that was being filled when it was made, not later and not sooner', () => {
  const bench = new Bench()
  bench.make(vote(2, 1))
  bench.log.roundSequence = 2
  bench.make(ack(3, 5))
  assert.deepEqual(bench.durable(0), [])
  assert.deepEqual(bench.durable(1), ['vote-reply 1 to 2'])
  assert.deepEqual(bench.durable(1), [])
  assert.deepEqual(bench.durable(2), ['append-reply 5 to 3'])
  assert.equal(bench.promises, undefined, 'an idle group keeps no list')
})

test('what is on disk already is promised at once', () => {
  const bench = new Bench()
  bench.log.journaledSequence = 1
  bench.make(vote(2, 1))
  assert.deepEqual(bench.left, ['vote-reply 1 to 2'])
  assert.equal(bench.promises, undefined)
})

test('appends of one block are acknowledged by one message, those of another block, term or leader are not', () => {
  const bench = new Bench()
  bench.make(ack(2, 5), ack(2, 7))
  bench.make(ack(2, 9))
  bench.make(ack(2, 10, 2), ack(3, 11, 2))
  bench.log.roundSequence = 2
  bench.make(ack(3, 12, 2))
  assert.deepEqual(bench.durable(2), [
    'append-reply 9 to 2',
    'append-reply 10 to 2',
    'append-reply 11 to 3',
    'append-reply 12 to 3',
  ])
})

test('a leader that is followed no longer gets no acknowledgement, and its successor keeps the vote', () => {
  const bench = new Bench()
  bench.make(ack(2, 5), vote(3, 2), ack(3, 6))
  dropAcks(bench.replica, 2)
  assert.deepEqual(bench.durable(1), ['vote-reply 2 to 3', 'append-reply 6 to 3'])
  bench.make(ack(2, 5))
  dropAcks(bench.replica, 2)
  assert.equal(bench.promises, undefined)
})

test('what a promise leads to as it leaves waits for its own block', () => {
  const bench = new Bench()
  bench.make(vote(1, 1))
  bench.log.roundSequence = 2
  bench.onLeave = () => {
    bench.onLeave = undefined
    bench.make(ack(2, 8))
  }
  assert.deepEqual(bench.durable(1), ['vote-reply 1 to 1'])
  assert.deepEqual(bench.durable(2), ['append-reply 8 to 2'])
})
