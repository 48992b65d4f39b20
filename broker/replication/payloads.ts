// Payloads of the entries that a leader sends: views over journal or cache memory, held until the last socket has taken them.
//
// Made for one message to one peer or for the same one to several, dropped with it; shard thread. Everything comes out of
// log.readEntries(), so nobody needs to remember where in memory an entry lies.

import { invariant } from '../../protocol/invariant.ts'
import type { EntryRead } from '../../storage/entry-read.ts'
import type { GroupLog } from '../../storage/log.ts'
import { decodeMembership, encodeMembership } from '../raft/membership.ts'
import { Entry, EntryKind, type PlacedMembership } from '../raft/types.ts'
import { NO_PAYLOADS, type Payloads } from './raft-codec.ts'

export class ReadPayloads implements Payloads {
  readonly views: readonly Uint8Array[]
  readonly #reads: readonly EntryRead[]
  readonly #released: (() => void) | undefined
  #holders = 1

  /** @param released called when nobody holds the memory any more */
  constructor(views: readonly Uint8Array[], reads: readonly EntryRead[], released?: () => void) {
    this.views = views
    this.#reads = reads
    this.#released = released
  }

  retain(): void {
    this.#holders += 1
  }

  readonly release = (): void => {
    this.#holders -= 1
    if (this.#holders > 0) return
    for (const read of this.#reads) read.release()
    this.#released?.()
  }
}

/** Payloads of entries that Raft still has in memory: not committed, or only just, so they are in the journal's memory too. */
export function payloadsOf(log: GroupLog, entries: readonly Entry[]): Payloads {
  if (entries.length === 0) return NO_PAYLOADS
  const views: Uint8Array[] = []
  const reads: EntryRead[] = []
  let bytesLeft = 0
  for (const entry of entries) bytesLeft += entry.bytes + ENTRY_COST_BYTES
  while (views.length < entries.length) {
    const from = entries[views.length]!
    const read = log.readEntries(from.index, bytesLeft)
    invariant(!(read instanceof Promise), 'what is not committed lies in memory', from.index, log.laidIndex)
    reads.push(read)
    const had = views.length
    for (const found of read.entries) {
      const entry = entries[views.length]
      if (entry === undefined) break
      invariant(
        found.index === entry.index && found.term === entry.term,
        'raft and log agree',
        found.index,
        entry.index,
      )
      views.push(found.bytes)
      bytesLeft -= found.bytes.length + ENTRY_COST_BYTES
    }
    invariant(views.length > had, 'the log holds what raft holds', from.index, log.lastIndex)
  }
  return new ReadPayloads(views, reads)
}

/** What storage adds to an entry's bytes when it counts them. */
const ENTRY_COST_BYTES = 32

/** Entries for a lagging peer, as Raft wants them, and their payloads. */
export interface LoadedEntries {
  readonly entries: readonly Entry[]
  readonly payloads: Payloads
}

/**
 * @param placed the membership known to be committed: its entry may have lost its payload in storage
 * @param released called when the memory is free again
 */
export function loadedEntries(read: EntryRead, placed: PlacedMembership, released?: () => void): LoadedEntries {
  const entries: Entry[] = []
  const views: Uint8Array[] = []
  for (const found of read.entries) {
    let kind = found.kind as EntryKind
    let view = found.bytes
    let ref: unknown
    // An entry without payload may have been a membership once. Standing in for it, a newer one that is committed is as good, and
    // nobody ends up with a membership that is long gone.
    if (kind === EntryKind.LeaderChange && found.index <= placed.index) {
      kind = EntryKind.Membership
      ref = placed.membership
      view = encodeMembership(placed.membership)
    } else if (kind === EntryKind.Membership) {
      ref = decodeMembership(view)
    }
    entries.push(new Entry(found.index, found.term, found.count, kind, view.length, ref))
    views.push(view)
  }
  return { entries, payloads: new ReadPayloads(views, [read], released) }
}
