// How long groups are without a leader when a broker dies that led all of them.
//
// Usage: node bench/raft-failover.ts [groups] [rounds]. Three brokers of one shard each in one process, the driver, Raft and storage as
// shipped, over disks in memory and links with 1 ms of delay, in virtual time (test/unit/broker/replication/world.ts): the figures
// show waiting and rounds of messages, and the processor time that both survivors spend is printed beside them.

import { cpus } from 'node:os'
import type { ReplicaOwner } from '../broker/replication/replica.ts'
import { foundingSnapshot } from '../broker/replication/snapshot-blob.ts'
import { DEFAULT_LOG_CONFIG } from '../storage/log.ts'
import { World } from '../test/unit/broker/replication/world.ts'

const groupCount = Number(process.argv[2] ?? 10_000)
const rounds = Number(process.argv[3] ?? 3)

/** Counts the groups that serve, and when each began to. */
class Count {
  readonly times: number[] = []
  startMs = 0

  owner(world: World): ReplicaOwner {
    return {
      leading: () => this.times.push(world.nowMs - this.startMs),
      following: () => {},
      committed: () => {},
      snapshot: () => new Uint8Array(0),
      install: () => {},
    }
  }
}

console.log(`${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, Node ${process.version}`)
for (let round = 1; round <= rounds; round++) {
  const world = new World({ seed: round, arenaBytes: 256 << 20 })
  for (const nodeId of [1, 2, 3]) await world.start(nodeId)
  await world.run(1000)
  const count = new Count()
  const owner = count.owner(world)
  for (let groupId = 1; groupId <= groupCount; groupId++) {
    const founders = groupId % 2 === 0 ? [1, 2, 3] : [1, 3, 2]
    for (const { nodeId, storage, replication } of world.brokers.values()) {
      const log = storage.create(groupId, `/data/g${groupId}`, DEFAULT_LOG_CONFIG, foundingSnapshot(founders))
      replication.add(log, owner, { founders, preferred: nodeId === 1 })
    }
    if (groupId % 2000 === 0) await world.run(20)
  }
  const first = world.brokers.get(1)!
  await world.until(() => first.replication.stats().led === groupCount, 60_000)
  await world.run(1000)
  count.times.length = 0
  count.startMs = world.nowMs
  const startMs = performance.now()
  const cpu = process.cpuUsage()
  world.kill(1)
  await world.until(() => count.times.length >= groupCount, 60_000)
  const { user, system } = process.cpuUsage(cpu)
  const elections = [2, 3].map((nodeId) => world.brokers.get(nodeId)!.replication.stats().electionsStarted)
  const times = count.times.sort((one, other) => one - other)
  const at = (share: number): string => `${Math.round(times[Math.floor((times.length - 1) * share)]!)} ms`
  console.log(
    `round ${round}: ${groupCount} groups led again, first ${at(0)}, half ${at(0.5)}, 99 % ${at(0.99)}, last ${at(1)}; ` +
      `${elections[0]! + elections[1]!} elections; ${Math.round(performance.now() - startMs)} ms of real time, ` +
      `${Math.round((user + system) / 1000)} ms of processor time`,
  )
}
process.exit(0)
