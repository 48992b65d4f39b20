// The promises, held against the whole history of a run once it is over; each in one plain sentence.
//
// What can be judged at once (reads, commits, acknowledgements) is judged by history.ts while the run goes on.

import { type History, keyOf, type Lane, type PartitionKey, Violation } from './history.ts'

interface Placed {
  readonly offset: number
  readonly number: number
}

/** @param range what was read of each partition at the end: from the log start (inclusive) to the high watermark (exclusive) */
export function checkPartition(
  history: History,
  partition: PartitionKey,
  seen: ReadonlyMap<number, { readonly lane: number; readonly number: number }>,
  range: { readonly startOffset: number; readonly endOffset: number },
): void {
  const where = `${partition.topic}-${partition.partition}`
  const placed = new Map<number, Placed[]>()
  for (let offset = range.startOffset; offset < range.endOffset; offset++) {
    const record = seen.get(offset)
    if (record === undefined) throw new Violation(`offsets are dense: ${where} has nothing at ${offset}`)
    const list = placed.get(record.lane)
    if (list === undefined) placed.set(record.lane, [{ offset, number: record.number }])
    else list.push({ offset, number: record.number })
  }
  for (const offset of seen.keys()) {
    if (offset >= range.endOffset) {
      throw new Violation(`what was read once stays: ${where} ends at ${range.endOffset}, ${offset} was read`)
    }
  }
  for (const lane of history.lanes) {
    if (keyOf(lane.partition) !== keyOf(partition)) continue
    checkAcknowledged(where, lane, seen, placed.get(lane.id) ?? [], range)
    checkOrder(where, lane, placed.get(lane.id) ?? [], range.startOffset > 0)
  }
}

function checkAcknowledged(
  where: string,
  lane: Lane,
  seen: ReadonlyMap<number, { readonly lane: number; readonly number: number }>,
  placed: readonly Placed[],
  range: { readonly startOffset: number; readonly endOffset: number },
): void {
  const numbers = new Set(placed.map(({ number }) => number))
  for (const [number, offset] of lane.acked) {
    if (offset < 0) {
      // The broker no longer knew where it was; it may lie below the start.
      if (!numbers.has(number) && range.startOffset === 0) {
        throw new Violation(`no acknowledged record is lost: ${where} lacks lane ${lane.id} record ${number}`)
      }
      continue
    }
    if (offset < range.startOffset) continue
    const record = seen.get(offset)
    if (offset >= range.endOffset || record === undefined) {
      throw new Violation(
        `no acknowledged record is lost: ${where} ends at ${range.endOffset}, lane ${lane.id} record ${number} was acknowledged at ${offset}`,
      )
    }
    if (record.lane !== lane.id || record.number !== number) {
      throw new Violation(
        `no acknowledged record is lost: ${where} at ${offset} holds lane ${record.lane} record ${record.number}, acknowledged was lane ${lane.id} record ${number}`,
      )
    }
  }
}

/** @param isTrimmed the beginning is gone: what is seen first may be the repetition of something that came before */
function checkOrder(where: string, lane: Lane, placed: readonly Placed[], isTrimmed: boolean): void {
  let highest = -1
  const counts = new Map<number, number>()
  for (const { offset, number } of placed) {
    const count = (counts.get(number) ?? 0) + 1
    counts.set(number, count)
    if (lane.idempotent && count > 1) {
      throw new Violation(
        `idempotence leaves no duplicate: ${where} has lane ${lane.id} record ${number} again at ${offset}`,
      )
    }
    if (count > (lane.attempts[number] ?? 0)) {
      throw new Violation(
        `a record is there at most as often as it was sent: ${where} lane ${lane.id} record ${number}`,
      )
    }
    if (count > 1) continue
    if (isTrimmed && !lane.idempotent && (lane.attempts[number] ?? 0) > 1) {
      highest = Math.max(highest, number)
      continue
    }
    if (number !== highest + 1 && highest >= 0) {
      throw new Violation(
        `records of a producer keep their order: ${where} at ${offset} has lane ${lane.id} record ${number} after ${highest}`,
      )
    }
    highest = number
  }
}
