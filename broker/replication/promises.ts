// Promises about our disk, of one group: votes, requests for votes, acknowledgements. Each leaves when the journal block that was being filled
// when it was made is on disk.
//
// Kept with the replica (Replica.promises), oldest first; made and kept by driver.ts, on the shard's thread.

import type { Envelope, NodeId } from '../raft/types.ts'
import type { Replica } from './replica.ts'

/** Lets a promise leave. */
export type Keep = (replica: Replica, envelope: Envelope) => void

/** Sends what is on our disk already, and keeps the rest until it is. */
export function makePromises(replica: Replica, envelopes: readonly Envelope[], keep: Keep): void {
  const { log } = replica
  const sequence = log.roundSequence
  if (sequence <= log.journaledSequence) {
    for (const envelope of envelopes) keep(replica, envelope)
    return
  }
  replica.promises ??= []
  for (const envelope of envelopes) {
    const last = replica.promises.at(-1)
    // Several appends of one round are acknowledged by one message.
    if (last !== undefined && last.sequence === sequence && isLaterAck(last.envelope, envelope))
      last.envelope = envelope
    else replica.promises.push({ sequence, envelope })
  }
}

/** What the disk holds by now leaves. */
export function keepPromises(replica: Replica, keep: Keep): void {
  const { promises, log } = replica
  if (promises === undefined) return
  let count = 0
  while (count < promises.length && promises[count]!.sequence <= log.journaledSequence) count += 1
  if (count === 0) return
  // Taken out first: our own vote may lead to new ones.
  const kept = promises.splice(0, count)
  if (promises.length === 0) replica.promises = undefined
  for (const { envelope } of kept) keep(replica, envelope)
}

/** What we still owed a leader that we do not follow any more: it would count us as its follower again. */
export function dropAcks(replica: Replica, leader: NodeId): void {
  const { promises } = replica
  if (promises === undefined) return
  const kept = promises.filter(({ envelope }) => envelope.to !== leader || envelope.message.type !== 'append-reply')
  replica.promises = kept.length === 0 ? undefined : kept
}

function isLaterAck(earlier: Envelope, later: Envelope): boolean {
  const [one, other] = [earlier.message, later.message]
  return (
    one.type === 'append-reply' &&
    other.type === 'append-reply' &&
    earlier.to === later.to &&
    one.term === other.term &&
    one.index <= other.index
  )
}
