// The load generator, a process of its own: `node bench/load.ts '<job as JSON>'` prints one line of JSON.
//
// Open loop: records fall due on a fixed schedule whatever the broker does, and a latency counts from the moment a record
// was due, so time spent waiting behind a slow answer is not hidden. Records that fall due while a connection already has
// its five requests in flight go out together in the next one, as producers do without linger. Closed loop: a fixed number
// of requests is kept in flight, which gives the largest rate.

import { Worker } from 'node:worker_threads'
import {
  checkProduced,
  createBenchTopic,
  encodeBatch,
  fetchFrame,
  LoadConnection,
  produceFrame,
  readFetched,
} from './client.ts'
import { Histogram, type Latency } from './histogram.ts'

const inFlightMax = 5
/** Most records that one request carries for one partition. */
const recordsPerBatchMax = 64

/** `leaders` is the port of each partition's leader, where there are several brokers. */
export type Job =
  | { kind: 'create'; port: number; topic: string; partitions: number }
  | { kind: 'fill'; port: number; topic: string; partitions: number; megabytes: number }
  | {
      kind: 'max'
      port: number
      topic: string
      partitions: number
      connections: number
      batchBytes: number
      seconds: number
      leaders?: readonly number[]
    }
  | {
      kind: 'open'
      port: number
      topic: string
      partitions: number
      connections: number
      rate: number
      tickMs: number
      seconds: number
      leaders?: readonly number[]
    }
  | { kind: 'end-to-end'; port: number; topic: string; rate: number; seconds: number }
  | { kind: 'keyed'; port: number; topic: string; partitions: number; connections: number; seconds: number }
  | { kind: 'consume'; port: number; topic: string; partitions: number; megabytes: number }
  | { kind: 'drain'; port: number; topic: string; partitions: number; megabytes: number; rate: number }
  | { kind: 'until-killed'; port: number; topic: string; partitions: number }

export interface Result {
  seconds: number
  records: number
  bytes: number
  latency?: Latency
  /** How late the schedule itself ran; a large one means that the machine, not the broker, was measured. */
  lateness?: Latency
  /** Bytes per second that a consumer read, where one read beside producers. */
  consumedBytesPerSecond?: number
}

const warmUpSeconds = 3
const now = () => performance.timeOrigin + performance.now()

/** Calls back at fixed intervals from a thread that sleeps finer than a Node timer can. */
function startTicker(intervalMs: number, call: () => void): () => void {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads')
    const sleep = new Int32Array(new SharedArrayBuffer(4))
    const start = performance.now()
    for (let tick = 1; ; tick++) {
      const wait = start + tick * workerData - performance.now()
      if (wait > 0) Atomics.wait(sleep, 0, 0, wait)
      parentPort.postMessage(0)
    }`
  const worker = new Worker(source, { eval: true, workerData: intervalMs })
  worker.on('message', call)
  return () => void worker.terminate()
}

interface Share {
  readonly connection: LoadConnection
  readonly partitions: readonly number[]
}

/** Open loop over some connections; `finished` resolves when the last record is acknowledged. */
class OpenLoop {
  readonly latency = new Histogram()
  readonly lateness = new Histogram()
  readonly #batches: Buffer[]
  readonly #waiting: number[][]
  readonly #shares: readonly Share[]
  readonly #intervalMs: number
  readonly #partitions: number
  readonly #topic: string
  readonly #tickMs: number
  #due = 0
  #next = 0
  #acknowledged = 0
  #turn = 0
  #measureFrom = Number.POSITIVE_INFINITY
  #end = Number.POSITIVE_INFINITY

  constructor(shares: readonly Share[], topic: string, partitions: number, rate: number, tickMs = 0.2) {
    this.#tickMs = tickMs
    this.#shares = shares
    this.#topic = topic
    this.#partitions = partitions
    this.#intervalMs = 1000 / rate
    this.#batches = Array.from({ length: recordsPerBatchMax + 1 }, (_, count) => encodeBatch(Math.max(1, count), 1024))
    this.#waiting = Array.from({ length: partitions }, () => [])
  }

  /** Runs until `stop` resolves; gives how many records were sent. Times are milliseconds of `now`. */
  async run(
    seconds: number,
    onDue?: (sequence: number, due: number) => void,
    stop?: Promise<unknown>,
  ): Promise<number> {
    this.#next = now()
    this.#measureFrom = this.#next + warmUpSeconds * 1000
    this.#end = this.#measureFrom + seconds * 1000
    void stop?.then(() => {
      this.#end = now()
    })
    return await new Promise((resolve) => {
      const tick = () => {
        const time = now()
        const until = Math.min(time, this.#end)
        if (this.#next <= until) this.lateness.record((time - this.#next) * 1000)
        while (this.#next <= until) {
          onDue?.(this.#due, this.#next)
          this.#waiting[this.#due % this.#partitions]?.push(this.#next)
          this.#due++
          this.#next += this.#intervalMs
        }
        // Another connection is first at each tick: where they share one partition, each gets its part.
        this.#turn++
        const count = this.#shares.length
        for (let index = 0; index < count; index++) this.#pump((index + this.#turn) % count)
        if (time > this.#end && this.#acknowledged === this.#due) {
          stopTicker()
          resolve(this.#due)
        }
      }
      const stopTicker = startTicker(this.#tickMs, tick)
    })
  }

  /** Sends what waits for the partitions of one connection. */
  #pump(index: number): void {
    const share = this.#shares[index]
    if (share === undefined) return
    const { connection, partitions } = share
    while (connection.inFlight < inFlightMax) {
      const parts: { partition: number; batch: Buffer }[] = []
      const times: number[] = []
      for (const partition of partitions) {
        const waiting = this.#waiting[partition]
        if (waiting === undefined || waiting.length === 0) continue
        const taken = waiting.splice(0, recordsPerBatchMax)
        const batch = this.#batches[taken.length]
        if (batch === undefined) throw new Error(`no batch of ${taken.length} records`)
        parts.push({ partition, batch })
        for (const time of taken) times.push(time)
      }
      if (parts.length === 0) return
      connection.send(produceFrame(this.#topic, parts), (answer) => {
        checkProduced(answer)
        const time = now()
        this.#acknowledged += times.length
        for (const due of times) if (due >= this.#measureFrom) this.latency.record((time - due) * 1000)
        this.#pump(index)
      })
    }
  }
}

/** Connections to the leaders of the partitions, and what each of them writes to. */
async function openShares(job: {
  port: number
  partitions: number
  connections: number
  leaders?: readonly number[]
}): Promise<Share[]> {
  const all = Array.from({ length: job.partitions }, (_, partition) => partition)
  const ports = job.leaders === undefined ? [job.port] : [...new Set(job.leaders)]
  const shares: Promise<Share[]>[] = ports.map(async (port) => {
    const own = all.filter((partition) => job.leaders === undefined || job.leaders[partition] === port)
    return sharesOf(await openAll(port, Math.ceil(job.connections / ports.length)), own)
  })
  return (await Promise.all(shares)).flat()
}

/** With fewer partitions than connections they take turns, and with more each has partitions of its own. */
function sharesOf(connections: readonly LoadConnection[], partitions: readonly number[]): Share[] {
  const count = connections.length
  return connections.map((connection, index) => ({
    connection,
    partitions: partitions.length < count ? partitions : partitions.filter((_, at) => at % count === index),
  }))
}

async function openAll(port: number, count: number): Promise<LoadConnection[]> {
  return await Promise.all(Array.from({ length: count }, () => LoadConnection.open(port)))
}

function closeAll(connections: readonly LoadConnection[]): void {
  for (const connection of connections) connection.close()
}

async function runOpen(job: Job & { kind: 'open' }): Promise<Result> {
  const shares = await openShares(job)
  const loop = new OpenLoop(shares, job.topic, job.partitions, job.rate, job.tickMs)
  const records = await loop.run(job.seconds)
  closeAll(shares.map(({ connection }) => connection))
  const { seconds } = job
  return { seconds, records, bytes: records * 1024, latency: loop.latency.summary(), lateness: loop.lateness.summary() }
}

/** Keeps requests in flight until time is up; counts what was acknowledged after the warm-up. */
async function runClosed(
  connections: readonly LoadConnection[],
  framesOf: (connection: number) => readonly Buffer[],
  recordsPerFrame: number,
  bytesPerFrame: number,
  seconds: number,
): Promise<Result> {
  const latency = new Histogram()
  const measureFrom = now() + warmUpSeconds * 1000
  const end = measureFrom + seconds * 1000
  let frames = 0
  await Promise.all(
    connections.map((connection, index) => {
      const choices = framesOf(index)
      let turn = 0
      return new Promise<void>((resolve) => {
        const send = () => {
          const frame = choices[turn++ % choices.length]
          if (frame === undefined) throw new Error('no frame to send')
          const sent = now()
          connection.send(frame, (answer) => {
            checkProduced(answer)
            const time = now()
            if (time >= measureFrom && time < end) {
              frames++
              latency.record((time - sent) * 1000)
            }
            if (time < end) send()
            else if (connection.inFlight === 0) resolve()
          })
        }
        for (let started = 0; started < inFlightMax; started++) send()
      })
    }),
  )
  closeAll(connections)
  return { seconds, records: frames * recordsPerFrame, bytes: frames * bytesPerFrame, latency: latency.summary() }
}

async function runMax(job: Job & { kind: 'max' }): Promise<Result> {
  const shares = await openShares(job)
  const records = Math.max(1, Math.floor(job.batchBytes / 1024))
  const batch = encodeBatch(records, 1024)
  const frames = Array.from({ length: job.partitions }, (_, partition) =>
    produceFrame(job.topic, [{ partition, batch }]),
  )
  return await runClosed(
    shares.map(({ connection }) => connection),
    (index) => shares[index]!.partitions.map((partition) => frames[partition]!),
    records,
    batch.length,
    job.seconds,
  )
}

/** Keyed records spread over many partitions: each request carries 16 batches of one record of 256 bytes. */
async function runKeyed(job: Job & { kind: 'keyed' }): Promise<Result> {
  const connections = await openAll(job.port, job.connections)
  const batch = encodeBatch(1, 256, true)
  const frames = Array.from({ length: 64 }, () => {
    const partitions = Array.from({ length: job.partitions }, (_, partition) => partition)
    const chosen = partitions.sort(() => Math.random() - 0.5).slice(0, 16)
    return produceFrame(
      job.topic,
      chosen.map((partition) => ({ partition, batch })),
    )
  })
  const rotated = (index: number) => [...frames.slice(index), ...frames.slice(0, index)]
  return await runClosed(connections, rotated, 16, 16 * 256, job.seconds)
}

/** Produce to seen by a consumer: the record at offset N was the Nth to fall due. */
async function runEndToEnd(job: Job & { kind: 'end-to-end' }): Promise<Result> {
  const producer = await LoadConnection.open(job.port)
  const consumer = await LoadConnection.open(job.port)
  const latency = new Histogram()
  const dueTimes: number[] = []
  const loop = new OpenLoop(sharesOf([producer], [0]), job.topic, 1, job.rate)
  const started = now()
  let next = 0
  let wanted = Number.POSITIVE_INFINITY
  const consumed = new Promise<void>((resolve) => {
    const poll = () => {
      consumer.send(fetchFrame(job.topic, [{ partition: 0, offset: next }]), (answer) => {
        const time = now()
        readFetched(answer, (_partition, baseOffset, lastOffset) => {
          for (let offset = Math.max(next, baseOffset); offset <= lastOffset; offset++) {
            const due = dueTimes[offset]
            if (due === undefined) throw new Error(`offset ${offset} was never sent`)
            if (due >= started + warmUpSeconds * 1000) latency.record((time - due) * 1000)
          }
          next = lastOffset + 1
        })
        if (next >= wanted) resolve()
        else poll()
      })
    }
    poll()
  })
  wanted = await loop.run(job.seconds, (sequence, due) => {
    dueTimes[sequence] = due
  })
  await consumed
  closeAll([producer, consumer])
  return {
    seconds: job.seconds,
    records: next,
    bytes: next * 1024,
    latency: latency.summary(),
    lateness: loop.lateness.summary(),
  }
}

/** Writes a backlog as fast as it goes, evenly over the partitions, in batches of 16 KiB as producers make by default. */
async function runFill(job: Job & { kind: 'fill' }): Promise<Result> {
  const connections = await openAll(job.port, Math.min(4, job.partitions))
  const batch = encodeBatch(16, 1024)
  const total = Math.ceil((job.megabytes * 1e6) / batch.length)
  const started = now()
  let sent = 0
  await Promise.all(
    connections.map(
      (connection) =>
        new Promise<void>((resolve) => {
          const send = () => {
            const frame = produceFrame(job.topic, [{ partition: sent % job.partitions, batch }])
            sent++
            connection.send(frame, (answer) => {
              checkProduced(answer)
              if (sent < total) send()
              else if (connection.inFlight === 0) resolve()
            })
          }
          for (let started = 0; started < inFlightMax; started++) send()
        }),
    ),
  )
  closeAll(connections)
  return { seconds: (now() - started) / 1000, records: sent * 16, bytes: sent * batch.length }
}

/** Reads every partition from offset 0 until `bytesWanted` have come; four connections with a share of partitions each. */
async function readFromStart(port: number, topic: string, partitions: number, bytesWanted: number): Promise<Result> {
  const connections = await openAll(port, Math.min(4, partitions))
  const started = now()
  let bytes = 0
  let records = 0
  let ended = 0
  await Promise.all(
    connections.map((connection, index) => {
      const own = Array.from({ length: partitions }, (_, partition) => ({ partition, offset: 0 }))
      const parts = own.filter(({ partition }) => partition % connections.length === index)
      return new Promise<void>((resolve) => {
        const poll = () => {
          connection.send(fetchFrame(topic, parts), (answer) => {
            let got = 0
            readFetched(answer, (partition, baseOffset, lastOffset, size) => {
              const part = own[partition]
              if (part === undefined || baseOffset < part.offset) return
              part.offset = lastOffset + 1
              got += size
              records += lastOffset - baseOffset + 1
            })
            bytes += got
            // The partition that answered goes to the end, so that one answer's limit does not starve the others.
            parts.push(...parts.splice(0, 1))
            if (bytes < bytesWanted) return poll()
            if (ended === 0) ended = now()
            resolve()
          })
        }
        poll()
      })
    }),
  )
  closeAll(connections)
  return { seconds: (ended - started) / 1000, records, bytes }
}

async function runDrain(job: Job & { kind: 'drain' }): Promise<Result> {
  const connections = await openAll(job.port, 4)
  const partitions = Array.from({ length: job.partitions }, (_, partition) => partition)
  const loop = new OpenLoop(sharesOf(connections, partitions), job.topic, job.partitions, job.rate)
  let drained = () => {}
  const stop = new Promise<void>((resolve) => {
    drained = resolve
  })
  const producing = loop.run(600, undefined, stop)
  await new Promise((resolve) => setTimeout(resolve, warmUpSeconds * 1000))
  const read = await readFromStart(job.port, job.topic, job.partitions, job.megabytes * 1e6)
  drained()
  await producing
  closeAll(connections)
  return {
    ...read,
    latency: loop.latency.summary(),
    lateness: loop.lateness.summary(),
    consumedBytesPerSecond: read.bytes / read.seconds,
  }
}

/** Writes at full rate until the broker dies; for the restart measurement. */
async function runUntilKilled(job: Job & { kind: 'until-killed' }): Promise<Result> {
  try {
    return await runMax({ ...job, kind: 'max', connections: 4, batchBytes: 16_384, seconds: 120 })
  } catch {
    return { seconds: 0, records: 0, bytes: 0 }
  }
}

async function runJob(job: Job): Promise<Result> {
  switch (job.kind) {
    case 'create':
      await createBenchTopic(job.port, job.topic, job.partitions)
      return { seconds: 0, records: 0, bytes: 0 }
    case 'fill':
      return await runFill(job)
    case 'max':
      return await runMax(job)
    case 'open':
      return await runOpen(job)
    case 'end-to-end':
      return await runEndToEnd(job)
    case 'keyed':
      return await runKeyed(job)
    case 'consume':
      return await readFromStart(job.port, job.topic, job.partitions, job.megabytes * 1e6)
    case 'drain':
      return await runDrain(job)
    case 'until-killed':
      return await runUntilKilled(job)
  }
}

const job = JSON.parse(process.argv[2] ?? '') as Job
if (job.kind === 'until-killed') process.on('uncaughtException', () => process.exit(0))
console.log(JSON.stringify(await runJob(job)))
process.exit(0)
