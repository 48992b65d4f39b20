// Where a log's terms and offsets run: the exact relation between Raft index, term and Kafka offset, in a few numbers.
//
// Pure functions over a flat array, owned by the GroupLog it describes. A run begins with ONE entry that takes an index and no
// offset (a leader change, a membership), and goes on with batches, one index per offset: index - offset is the same within
// a run and grows by one from run to run. So a handful of numbers converts any index of the log, however long it is.
//
// The first run may begin before the first index held: the log was trimmed inside it, or begins anew behind a snapshot. Its
// start is then no entry of the log, only where counting begins.

/** Where a run begins. Entries behind startIndex, up to the next run's, are batches from startOffset on. */
export interface Run {
  readonly term: number
  readonly startIndex: number
  readonly startOffset: number
}

/** term, startIndex, startOffset, term, ... oldest first. Never changed in place, so that an empty one can be shared. */
export type Runs = readonly number[]

export const NO_RUNS: Runs = Object.freeze([])

/** Numbers per run. */
const WIDTH = 3

export function runsOf(list: readonly Run[]): Runs {
  return list.length === 0 ? NO_RUNS : shared(list.flatMap((run) => [run.term, run.startIndex, run.startOffset]))
}

export function listOf(runs: Runs): Run[] {
  const list: Run[] = []
  for (let at = 0; at < runs.length; at += WIDTH) {
    list.push({ term: runs[at]!, startIndex: runs[at + 1]!, startOffset: runs[at + 2]! })
  }
  return list
}

/** Adds a run at the end; the array is as long as it must be, since most groups hold one run for long. */
export function withRun(runs: Runs, term: number, startIndex: number, startOffset: number): Runs {
  return shared(runs.length === 0 ? [term, startIndex, startOffset] : runs.concat(term, startIndex, startOffset))
}

/** Most groups of a large broker hold no record yet, and ran through the same few elections: they share their runs. */
const sharedRuns = new Map<string, Runs>()
const SHARED_RUNS_MAX = 1024
const SHARED_LENGTH_MAX = 8 * WIDTH

/** @returns equal runs; the same ones for the same numbers, where no run begins behind a record */
function shared(runs: Runs): Runs {
  if (runs.length > SHARED_LENGTH_MAX || runs[runs.length - 1] !== 0) return runs
  const key = runs.join()
  const known = sharedRuns.get(key)
  if (known !== undefined) return known
  // Forgetting all costs memory for a while, nothing else.
  if (sharedRuns.size >= SHARED_RUNS_MAX) sharedRuns.clear()
  sharedRuns.set(key, runs)
  return runs
}

/** The runs that begin before an index. */
export function runsBefore(runs: Runs, index: number): Runs {
  let length = runs.length
  while (length > 0 && runs[length - WIDTH + 1]! >= index) length -= WIDTH
  return length === runs.length ? runs : length === 0 ? NO_RUNS : runs.slice(0, length)
}

/** Without the runs that end before an index. */
export function runsFrom(runs: Runs, index: number): Runs {
  let drop = 0
  while (drop + WIDTH < runs.length && runs[drop + WIDTH + 1]! <= index) drop += WIDTH
  return drop === 0 ? runs : runs.slice(drop)
}

/** Term of the last run, -1 when there is none. */
export function lastTermOf(runs: Runs): number {
  return runs.length === 0 ? -1 : runs[runs.length - WIDTH]!
}

/** Term of the entry at an index; -1 before the first run. */
export function termAt(runs: Runs, index: number): number {
  const at = floor(runs, 1, index)
  return at < 0 ? -1 : runs[at]!
}

/** Exclusive end of the offsets of everything up to an index; before the first run, where that one begins. */
export function offsetAfter(runs: Runs, index: number): number {
  const at = floor(runs, 1, index)
  if (at < 0) return runs.length === 0 ? 0 : runs[2]!
  return runs[at + 2]! + (index - runs[at + 1]!)
}

/** Index of the record at an offset; for the log end offset, of the record to come. -1 before the first run. */
export function indexOfOffset(runs: Runs, offset: number): number {
  const at = floor(runs, 2, offset)
  return at < 0 ? -1 : runs[at + 1]! + 1 + (offset - runs[at + 2]!)
}

/** Whether a run begins at an index: the entry there has no offset. */
export function startsAt(runs: Runs, index: number): boolean {
  const at = floor(runs, 1, index)
  return at >= 0 && runs[at + 1] === index
}

/** Array position of the last run whose field is not above a value, -WIDTH when there is none. */
function floor(runs: Runs, field: number, value: number): number {
  // The newest run is the one asked about nearly always.
  const last = runs.length - WIDTH
  if (last < 0 || runs[last + field]! <= value) return last
  let low = 0
  let high = last / WIDTH
  while (low < high) {
    const middle = (low + high) >>> 1
    if (runs[middle * WIDTH + field]! <= value) low = middle + 1
    else high = middle
  }
  return (low - 1) * WIDTH
}
