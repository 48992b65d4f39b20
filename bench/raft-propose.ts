// What Raft itself costs: a produced batch through propose, ready, durable and commit, and a group that does nothing.
//
// Usage: node --expose-gc bench/raft-propose.ts [batches] [groups]. Single-voter groups; no disk, no bytes.

import { cpus } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Membership } from '../broker/raft/membership.ts'
import { Raft, RaftSettings } from '../broker/raft/raft.ts'
import { EntryKind, NOBODY } from '../broker/raft/types.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const batchCount = Number(process.argv[2] ?? 5_000_000)
const groupCount = Number(process.argv[3] ?? 50_000)
const settings = new RaftSettings({ jitter: () => 0.5 })
const membership = new Membership([1])

function startLeader(): Raft {
  const raft = new Raft(settings, {
    id: 1,
    memberships: [{ index: 0, membership }],
    hardState: { term: 0, votedFor: NOBODY },
    log: { firstIndex: 1, prevTerm: 0, lastIndex: 0, runs: [], commitIndex: 0 },
  })
  raft.campaign()
  for (const { to, message } of raft.ready()!.sendWhenDurable) raft.receive(to, message)
  raft.ready()
  raft.durable(raft.term, raft.lastIndex)
  raft.ready()
  return raft
}

/** Nanoseconds and allocated bytes per batch, round robin over the groups. */
function propose(groups: readonly Raft[], count: number, batchesPerTurn: number): { nanos: number; bytes: number } {
  let committedCount = 0
  collectGarbage()
  const heapBefore = process.memoryUsage().heapUsed
  let allocatedBytes = 0
  let lastHeap = heapBefore
  const start = process.hrtime.bigint()
  let at = 0
  for (let done = 0; done < count; done += batchesPerTurn) {
    const raft = groups[at]!
    at = at + 1 === groups.length ? 0 : at + 1
    for (let batch = 0; batch < batchesPerTurn; batch += 1) raft.propose(EntryKind.Batch, 10, undefined)
    raft.ready()
    raft.durable(raft.term, raft.lastIndex)
    committedCount += raft.ready()!.committed.length
    if (done % 4096 === 0) {
      const heap = process.memoryUsage().heapUsed
      if (heap > lastHeap) allocatedBytes += heap - lastHeap
      lastHeap = heap
    }
  }
  const nanos = Number(process.hrtime.bigint() - start) / count
  if (committedCount !== count) throw new Error(`${committedCount} of ${count} committed`)
  return { nanos, bytes: allocatedBytes / count }
}

function report(name: string, groups: readonly Raft[], batchesPerTurn: number): void {
  propose(groups, batchCount / 10, batchesPerTurn)
  const runs = Array.from({ length: 5 }, () => propose(groups, batchCount / 5, batchesPerTurn))
  const nanos = runs.map((run) => run.nanos).sort((a, b) => a - b)
  const bytes = runs.map((run) => run.bytes).sort((a, b) => a - b)
  const spread = `${nanos[0]!.toFixed(0)} to ${nanos[4]!.toFixed(0)}`
  console.log(
    `${name}: ${nanos[2]!.toFixed(0)} ns per batch (${spread}), about ${bytes[2]!.toFixed(0)} bytes allocated`,
  )
}

console.log(`${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, Node ${process.version}`)

collectGarbage()
const before = process.memoryUsage().heapUsed
const groups = Array.from({ length: groupCount }, startLeader)
collectGarbage()
collectGarbage()
const perGroup = (process.memoryUsage().heapUsed - before) / groupCount
console.log(`${groupCount} idle groups, each leading: ${perGroup.toFixed(0)} bytes of heap each`)

report('one group, 1 batch per turn', groups.slice(0, 1), 1)
report('one group, 10 batches per turn', groups.slice(0, 1), 10)
report('1,000 groups, 1 batch per turn', groups.slice(0, 1000), 1)
report(`${groupCount} groups, 1 batch per turn`, groups, 1)
