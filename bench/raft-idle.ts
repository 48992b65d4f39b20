// What a replicated group costs that does nothing: three replicas elect a leader, commit, and are left alone.
//
// Usage: node bench/raft-idle.ts [groups]. Raft and its log only; no disk, no links.

import { cpus } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Membership } from '../broker/raft/membership.ts'
import { Raft, RaftSettings } from '../broker/raft/raft.ts'
import { Entry, EntryKind, type Message, NOBODY } from '../broker/raft/types.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const groupCount = Number(process.argv[2] ?? 20_000)
const ids = [1, 2, 3]
const settings = new RaftSettings({ jitter: () => 0.5, groupHeartbeats: false })
const membership = new Membership(ids)

function open(id: number): Raft {
  return new Raft(settings, {
    id,
    memberships: [{ index: 0, membership }],
    hardState: { term: 0, votedFor: NOBODY },
    log: { firstIndex: 1, prevTerm: 0, lastIndex: 0, runs: [], commitIndex: 0 },
  })
}

/** As a network does: an entry belongs to one log. */
function copy(message: Message): Message {
  if (message.type !== 'append') return message
  const entries = message.entries.map((e) => new Entry(e.index, e.term, e.count, e.kind, e.bytes, e.ref))
  return { ...message, entries }
}

function settle(replicas: readonly Raft[]): void {
  for (let isBusy = true; isBusy; ) {
    isBusy = false
    for (const raft of replicas) {
      const ready = raft.ready()
      if (ready === undefined) continue
      isBusy = true
      const envelopes = [...ready.sendNow, ...ready.sendWhenDurable]
      raft.durable(raft.lastTerm, raft.lastIndex)
      for (const { to, message } of envelopes) replicas[to - 1]!.receive(raft.id, copy(message))
    }
  }
}

function startGroup(): Raft[] {
  const replicas = ids.map(open)
  replicas[0]!.campaign({ force: true })
  settle(replicas)
  for (let batch = 0; batch < 3; batch += 1) replicas[0]!.propose(EntryKind.Batch, 10, undefined, 1000)
  settle(replicas)
  const isQuiet = replicas.every((raft) => raft.isQuiescent && !raft.needsTicks)
  if (!replicas[0]!.isLeader || !isQuiet) throw new Error('the group did not come to rest')
  return replicas
}

for (let warmUp = 0; warmUp < 1000; warmUp += 1) startGroup()
const leaders = new Array<Raft | undefined>(groupCount).fill(undefined)
const followers = new Array<Raft | undefined>(groupCount).fill(undefined)
collectGarbage()
collectGarbage()
const before = process.memoryUsage().heapUsed
for (let at = 0; at < groupCount; at += 1) [leaders[at], followers[at]] = startGroup()
collectGarbage()
collectGarbage()
const both = (process.memoryUsage().heapUsed - before) / groupCount
followers.fill(undefined)
collectGarbage()
collectGarbage()
const leader = (process.memoryUsage().heapUsed - before) / groupCount
if (leaders.some((raft) => raft?.isLeader !== true)) throw new Error('a group lost its leader')
console.log(`${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, Node ${process.version}`)
console.log(
  `${groupCount} idle groups of three: ${leader.toFixed(0)} bytes of heap for a leader and its log, ` +
    `${(both - leader).toFixed(0)} for a follower`,
)
