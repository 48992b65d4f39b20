// How long a partition takes nothing after `kill -9` of its leader, measured by a client that wastes no time.
//
// Record after record is written with acks=all to the leader; its process is killed; from then on the other brokers are tried in
// turn, every 5 ms, until one of them acknowledges. That is the brokers' part of a failover: what a client library adds (its
// timeouts, its backoff) comes on top. Used by test/cluster/failover.ts and bench/cluster.ts.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster, ClusterBroker } from './cluster.ts'
import { produce, RawConnection, readAll, recordBatch } from './raw.ts'

/** What one attempt may take: a broker that holds a request back is left for the next one. */
const ATTEMPT_MS = 400
const GIVE_UP_MS = 60_000
const IN_SYNC_MS = 120_000

export class FailoverProbe {
  readonly #cluster: Cluster
  readonly #topic: string
  #count = 0
  readonly #acknowledged = new Map<number, string>()

  /** @param topic of one partition */
  constructor(cluster: Cluster, topic: string) {
    this.#cluster = cluster
    this.#topic = topic
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.size
  }

  /** Kills the leader and starts it again. @returns milliseconds from the kill to the next acknowledgement */
  async round(): Promise<number> {
    const cluster = this.#cluster
    const { leader, connection } = await this.#settled()
    const others = cluster.brokers.filter((broker) => broker !== leader)
    const connections = new Map<ClusterBroker, RawConnection>()
    for (const broker of others) connections.set(broker, await RawConnection.open(broker.port, broker.host))
    const killed = leader.kill()
    const killedAt = performance.now()
    for (let at = 0; !(await this.#try(others[at % others.length]!, connections)); at++) {
      if (performance.now() - killedAt > GIVE_UP_MS) throw new Error('nobody took over')
      await sleep(5)
    }
    const tookMs = performance.now() - killedAt
    connection.close()
    for (const other of connections.values()) other.close()
    await killed
    await leader.restart()
    return tookMs
  }

  /** @returns how many acknowledged records are not where they were said to be */
  async lost(): Promise<number> {
    await this.#cluster.inSync(this.#topic, IN_SYNC_MS)
    const leader = this.#cluster.brokers[await this.#cluster.leaderOf(this.#topic, 0)]!
    const connection = await RawConnection.open(leader.port, leader.host)
    const records = await readAll(connection, this.#topic, 0)
    connection.close()
    const values = new Map(records.map(({ offset, value }) => [offset, value?.toString()]))
    let lost = 0
    for (const [offset, value] of this.#acknowledged) if (values.get(offset) !== value) lost++
    return lost
  }

  /** A leader that has taken fifty records in a row, all replicas in sync: leadership that still moves back home is no part of a round. */
  async #settled(): Promise<{ leader: ClusterBroker; connection: RawConnection }> {
    const cluster = this.#cluster
    const deadline = performance.now() + IN_SYNC_MS
    for (;;) {
      await cluster.inSync(this.#topic, IN_SYNC_MS)
      const leader = cluster.brokers[await cluster.leaderOf(this.#topic, 0)]!
      const connection = await RawConnection.open(leader.port, leader.host)
      let taken = 0
      while (taken < 50 && (await this.#write(connection))) taken++
      if (taken === 50) return { leader, connection }
      connection.close()
      if (performance.now() > deadline) throw new Error('no leader takes fifty records in a row')
      await sleep(100)
    }
  }

  /** @returns whether the record was acknowledged */
  async #write(connection: RawConnection): Promise<boolean> {
    const value = `record-${this.#count++}`
    const answer = produce(connection, this.#topic, 0, recordBatch({ values: [Buffer.from(value)] }))
    const late = sleep(ATTEMPT_MS).then(() => undefined)
    const settled = await Promise.race([answer.catch(() => undefined), late])
    if (settled === undefined || settled.error !== 0) return false
    this.#acknowledged.set(settled.baseOffset, value)
    return true
  }

  async #try(broker: ClusterBroker, connections: Map<ClusterBroker, RawConnection>): Promise<boolean> {
    try {
      let connection = connections.get(broker)
      if (connection === undefined || connection.isClosed) {
        connection = await RawConnection.open(broker.port, broker.host)
        connections.set(broker, connection)
      }
      return await this.#write(connection)
    } catch {
      return false
    }
  }
}
