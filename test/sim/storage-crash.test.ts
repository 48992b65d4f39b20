// Storage on a disk that lies until it is synced: the power goes at every kind of moment, nothing acknowledged is lost.
//
// SEEDS=n runs n seeds instead of the quick number; FROM=s starts at seed s. A failing run prints its seed, which repeats it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Disk, File } from '../../storage/disk.ts'
import type { SimulatedDisk } from './disk.ts'
import { Workload } from './storage-workload.ts'

const SEEDS = Number(process.env.SEEDS ?? 60)
const FROM = Number(process.env.FROM ?? 1)

test('nothing acknowledged is lost or changed whenever the power goes', async (t) => {
  let crashPoints = 0
  let acked = 0
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    try {
      const report = await new Workload({ seed, steps: 150, crashes: 6 }).run()
      crashPoints += report.crashPoints
      acked += report.acked
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  }
  t.diagnostic(`${SEEDS} seeds from ${FROM}, ${crashPoints} crashes, ${acked} acknowledged rounds`)
  assert.ok(crashPoints >= SEEDS)
  assert.ok(acked > 0)
})

/** Passes everything on, except what a bug changes. */
function wrapFiles(disk: SimulatedDisk, change: (file: File) => File): Disk {
  return new Proxy(disk, {
    get(target, name) {
      if (name === 'open') {
        return async (...args: Parameters<Disk['open']>) => change(await target.open(...args))
      }
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

function changed(file: File, changes: Partial<File>): File {
  return new Proxy(file, {
    get(target, name) {
      if (name in changes) return Reflect.get(changes, name)
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

async function finds(plant: (file: File) => File): Promise<number> {
  for (let seed = 1; seed <= 60; seed++) {
    try {
      await new Workload({ seed, steps: 150, crashes: 6, wrap: (disk) => wrapFiles(disk, plant) }).run()
    } catch {
      return seed
    }
  }
  return -1
}

test('a journal that acknowledges before the write is durable is found out', async () => {
  const seed = await finds((file) =>
    changed(file, { write: (from: Uint8Array, position: number, _durable: boolean) => file.write(from, position, false) }),
  )
  assert.ok(seed > 0, 'no seed noticed that journal writes were not durable')
})

test('a checkpoint that does not wait for the segment sync is found out', async () => {
  const seed = await finds((file) => (file.path.endsWith('.log') ? changed(file, { sync: () => Promise.resolve() }) : file))
  assert.ok(seed > 0, 'no seed noticed that segments were not synced')
})
