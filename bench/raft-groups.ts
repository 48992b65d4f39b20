// What tens of thousands of idle replicated groups cost a broker: heap per group, processor time per second, messages.
//
// Usage: node bench/raft-groups.ts [groups]. Three brokers of one shard each in one process: the driver, Raft and storage as shipped, over
// disks and links in memory (test/unit/broker/replication/world.ts). Broker 1 leads all groups.

import { cpus } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { ReplicaOwner } from '../broker/replication/replica.ts'
import { foundingSnapshot } from '../broker/replication/snapshot-blob.ts'
import type { File, OpenOptions } from '../storage/disk.ts'
import { DEFAULT_LOG_CONFIG } from '../storage/log.ts'
import { SimulatedDisk } from '../test/sim/disk.ts'
import { World } from '../test/unit/broker/replication/world.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const groupCount = Number(process.argv[2] ?? 50_000)
const founders = [1, 2, 3]
/** One for all groups: what a partition holds is not what is measured. */
const owner: ReplicaOwner = {
  leading: () => {},
  following: () => {},
  committed: () => {},
  snapshot: () => new Uint8Array(0),
  install: () => {},
}

function heapBytes(): number {
  collectGarbage()
  collectGarbage()
  return process.memoryUsage().heapUsed
}

/** Keeps nothing of what is written: its sectors would count as heap of the groups. Nothing that idles is read back. */
class ForgetfulDisk extends SimulatedDisk {
  override async open(path: string, options: OpenOptions): Promise<File> {
    const file = await super.open(path, options)
    file.write = () => Promise.resolve()
    return file
  }
}

const world = new World({ arenaBytes: 512 << 20, idleMs: 5000 })
for (const nodeId of founders) await world.start(nodeId, new ForgetfulDisk({ seed: nodeId, directories: ['/data'] }))
await world.run(1000)
const brokers = founders.map((nodeId) => world.brokers.get(nodeId)!)
const before = heapBytes()
const openStart = performance.now()
const snapshot = foundingSnapshot(founders)
for (let groupId = 1; groupId <= groupCount; groupId++) {
  for (const { nodeId, storage, replication } of brokers) {
    const log = storage.create(groupId, `/data/g${groupId}`, DEFAULT_LOG_CONFIG, snapshot)
    replication.add(log, owner, { founders, preferred: nodeId === 1 })
  }
  if (groupId % 2000 === 0) await world.run(20)
}
await world.until(() => brokers[0]!.replication.stats().led === groupCount, 60_000)
const openMs = performance.now() - openStart
// Past the time in which quiet groups are checkpointed.
await world.run(120_000)
const afterAll = heapBytes()
const messages = world.deliveredCount
const idleStart = process.cpuUsage()
const IDLE_SECONDS = 60
await world.run(IDLE_SECONDS * 1000)
const idle = process.cpuUsage(idleStart)
const perReplica = (afterAll - before) / groupCount / 3
const { awake, leaderless } = brokers[0]!.replication.stats()

console.log(`${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, Node ${process.version}`)
console.log(
  `${groupCount} groups of three opened and led after ${(openMs / 1000).toFixed(1)} s, ${awake} awake, ${leaderless} leaderless`,
)
console.log(
  `${perReplica.toFixed(0)} bytes of heap per replica (its directory's name, log, Raft and replica; a leader and two followers together ` +
    `${((afterAll - before) / groupCount).toFixed(0)})`,
)
console.log(
  `${world.deliveredCount - messages} messages in ${IDLE_SECONDS} idle seconds; ` +
    `${((idle.user + idle.system) / 1000 / IDLE_SECONDS / 3).toFixed(2)} ms of processor time per broker and second, with the test's clock`,
)
process.exit(0)
