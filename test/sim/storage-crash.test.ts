// Storage on a disk that lies until it is synced: the power goes at every kind of moment, nothing acknowledged is lost.
//
// SEEDS=n runs n seeds instead of the quick number; FROM=s starts at seed s. A failing run prints its seed, which repeats it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Disk, File, FileStat } from '../../storage/disk.ts'
import type { SimulatedDisk } from './disk.ts'
import { Workload, type WorkloadOptions } from './storage-workload.ts'

const SEEDS = Number(process.env.SEEDS ?? 60)
const FROM = Number(process.env.FROM ?? 1)

test('nothing acknowledged is lost or changed whenever the power goes', async (t) => {
  let crashPoints = 0
  let acked = 0
  let reverted = 0
  let installs = 0
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    try {
      const report = await new Workload({ seed, steps: 150, crashes: 6 }).run()
      crashPoints += report.crashPoints
      acked += report.acked
      reverted += report.reverted
      installs += report.installs
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  }
  t.diagnostic(`${SEEDS} seeds from ${FROM}, ${crashPoints} crashes, ${acked} acknowledged rounds`)
  t.diagnostic(`${installs} snapshots installed, ${reverted} crashes left an earlier log`)
  assert.ok(crashPoints >= SEEDS)
  assert.ok(acked > 0)
  assert.ok(installs > 0)
})

test('a disk that is full for a while loses nothing either, whenever the power goes', async (t) => {
  let crashPoints = 0
  let waits = 0
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    try {
      const report = await new Workload({ seed, steps: 150, crashes: 6, fills: true }).run()
      crashPoints += report.crashPoints
      waits += report.waits
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  }
  t.diagnostic(`${SEEDS} seeds from ${FROM}, ${crashPoints} crashes, ${waits} times something waited for space`)
  assert.ok(waits > SEEDS)
})

/** A file that does what another one does, but for one bug. */
class FaultyFile implements File {
  readonly #file: File
  readonly #bug: Bug

  constructor(file: File, bug: Bug) {
    this.#file = file
    this.#bug = bug
  }

  get path(): string {
    return this.#file.path
  }

  get direct(): boolean {
    return this.#file.direct
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#file.read(into, position)
  }

  write(from: Uint8Array, position: number, durable: boolean): Promise<void> {
    const written = this.#file.write(from, position, durable && this.#bug !== 'journal write not durable')
    return this.#bug === 'a write without space taken for done' ? written.catch(() => undefined) : written
  }

  sync(): Promise<void> {
    const skipped = this.#bug === 'segment not synced' && this.path.endsWith('.log')
    return skipped ? Promise.resolve() : this.#file.sync()
  }

  allocate(position: number, length: number, how: 'keep-size' | 'extend'): Promise<void> {
    return this.#file.allocate(position, length, how)
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#file.truncate(sizeBytes)
  }

  stat(): Promise<FileStat> {
    return this.#file.stat()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

type Bug =
  | 'none'
  | 'journal write not durable'
  | 'segment not synced'
  | 'directory not synced'
  | 'a write without space taken for done'

function plant(disk: SimulatedDisk, bug: Bug): Disk {
  return {
    method: disk.method,
    direct: disk.direct,
    open: async (path, options) => new FaultyFile(await disk.open(path, options), bug),
    stat: (path) => disk.stat(path),
    list: (path) => disk.list(path),
    makeDirectory: (path) => disk.makeDirectory(path),
    rename: (from, to) => disk.rename(from, to),
    remove: (path) => disk.remove(path),
    removeDirectory: (path) => disk.removeDirectory(path),
    syncDirectory: (path) =>
      bug === 'directory not synced' && path !== '/data/journal' ? Promise.resolve() : disk.syncDirectory(path),
    freeSpace: (path) => disk.freeSpace(path),
    lock: (path) => disk.lock(path),
    close: () => disk.close(),
  }
}

type Tamper = NonNullable<WorkloadOptions['tamper']>

/** Mistakes in what a follower does, each planted into every group. */
const FOLLOWER_BUGS: Readonly<Record<string, Tamper>> = {
  'a truncation is not journaled': (group) => {
    group.truncateTail = function (index) {
      this.cutTail(index)
      if (this.durableIndex >= index) this.durableIndex = index - 1
    }
  },
  'the durable index goes on behind a truncation as if nothing had been cut': (group) => {
    const { onRound } = group
    let largest = 0
    group.onRound = function (lastIndex) {
      largest = Math.max(largest, lastIndex)
      onRound.call(this, Math.min(largest, this.lastIndex))
    }
  },
  'a term and a vote are not journaled': (group) => {
    group.saveHardState = function (term, votedFor) {
      this.term = term
      this.votedFor = votedFor
    }
  },
  'a log start is not journaled': (group) => {
    group.trimPrefix = function (offset) {
      this.logStartOffset = Math.max(this.logStartOffset, offset)
    }
  },
  'terms without records are forgotten at a checkpoint': (group) => {
    const { state } = group
    group.state = function () {
      const whole = state.call(this)
      const runs: number[] = []
      for (let at = 0; at < whole.runs.length; at += 3) {
        if (whole.runs[at + 5] !== whole.runs[at + 2]) runs.push(...whole.runs.slice(at, at + 3))
      }
      return { ...whole, runs }
    }
  },
  'the segments of the earlier log go before the snapshot is durable': (group, disk) => {
    const { installSnapshot } = group
    group.installSnapshot = function (install) {
      const segments = this.files?.segments ?? []
      installSnapshot.call(this, install)
      for (const segment of segments) void disk.remove(segment.path('.log'))
    }
  },
  'a log begins anew with the snapshot of the earlier one': (group) => {
    const { installSnapshot } = group
    group.installSnapshot = function (install) {
      installSnapshot.call(this, { ...install, snapshot: this.snapshotProvider?.snapshot() ?? install.snapshot })
    }
  },
}

/** What the first seed that notices a bug says, undefined when none does. */
async function noticed(bug: Bug | Tamper, seeds: number, fills = false): Promise<string | undefined> {
  const planted =
    typeof bug === 'function' ? { tamper: bug } : { wrap: (disk: SimulatedDisk): Disk => plant(disk, bug) }
  for (let seed = 1; seed <= seeds; seed++) {
    try {
      await new Workload({ seed, steps: 150, crashes: 6, fills, ...planted }).run()
    } catch (error) {
      return `seed ${seed}: ${(error as Error).message}`
    }
  }
  return undefined
}

test('a disk that is passed on unchanged makes no difference', async () => {
  assert.equal(await noticed('none', 10), undefined)
})

for (const bug of ['journal write not durable', 'segment not synced', 'directory not synced'] as const) {
  test(`a planted bug is found out: ${bug}`, async (t) => {
    const finding = await noticed(bug, 60)
    assert.ok(finding !== undefined, `no seed noticed: ${bug}`)
    t.diagnostic(finding)
  })
}

test('a planted bug is found out: a write without space taken for done', async (t) => {
  const finding = await noticed('a write without space taken for done', 60, true)
  assert.ok(finding !== undefined, 'no seed noticed')
  t.diagnostic(finding)
})

for (const [bug, tamper] of Object.entries(FOLLOWER_BUGS)) {
  test(`a planted bug is found out: ${bug}`, async (t) => {
    const finding = await noticed(tamper, 120)
    assert.ok(finding !== undefined, `no seed noticed: ${bug}`)
    t.diagnostic(finding)
  })
}
