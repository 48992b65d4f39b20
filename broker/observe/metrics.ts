// Prometheus metrics over HTTP: at each scrape the shards are asked for their figures, which prom-client writes out.
//
// Main thread. The number of series is bounded: per API and per shard always, per partition and per group only up to a limit, or
// not at all with `?partitions=off`.

import { createServer } from 'node:http'
import { Counter, Gauge, Registry } from 'prom-client'
import { apiName } from '../../protocol/api.ts'
import { OperatorError } from '../operator-error.ts'
import { type ApiCounts, LATENCY_BUCKETS_MS, type ShardFigures } from './shard-metrics.ts'

export interface MetricsOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  figures(perPartition: boolean): Promise<ShardFigures[]>
}

export interface MetricsEndpoint {
  readonly url: string
  close(): Promise<void>
}

/** Above this many partitions (or group offsets) their series are left out; the total says so. */
const SERIES_MAX = 10_000
const SCRAPE_MS_MAX = 5000

/** @throws OperatorError when the port cannot be had */
export function startMetricsEndpoint(options: MetricsOptions): Promise<MetricsEndpoint> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    if (request.method !== 'GET' || url.pathname !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('metrics are at /metrics\n')
      return
    }
    scrape(options, url.searchParams.get('partitions') !== 'off').then(
      ({ text, contentType }) => response.writeHead(200, { 'content-type': contentType }).end(text),
      (error: Error) => response.writeHead(503, { 'content-type': 'text/plain' }).end(`${error.message}\n`),
    )
  })
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const address = `${options.host}:${options.port}`
      const message = `cannot listen on ${address} for metrics: ${cause.code ?? cause.message}`
      reject(new OperatorError('CANNOT_LISTEN', message, 'Choose another port with --metrics-port.', { cause }))
    })
    server.listen(options.port, options.host, () => {
      const address = server.address()
      const port = address !== null && typeof address === 'object' ? address.port : options.port
      resolve({
        url: `http://${options.host}:${port}/metrics`,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed())
            server.closeAllConnections()
          }),
      })
    })
  })
}

async function scrape(options: MetricsOptions, perPartition: boolean): Promise<{ text: string; contentType: string }> {
  let late: NodeJS.Timeout | undefined
  const tooLate = new Promise<never>((_resolve, reject) => {
    late = setTimeout(() => reject(new Error('a shard does not answer')), SCRAPE_MS_MAX)
  })
  try {
    const shards = await Promise.race([options.figures(perPartition), tooLate])
    const registry = new Registry()
    writeApis(registry, shards)
    writeShards(registry, shards)
    if (perPartition) writePartitions(registry, shards)
    return { text: await registry.metrics(), contentType: registry.contentType }
  } finally {
    clearTimeout(late)
  }
}

function writeApis(registry: Registry, shards: readonly ShardFigures[]): void {
  const registers = [registry]
  const labelNames = ['api'] as const
  const counter = (name: string, help: string) => new Counter({ name: `millrace_${name}`, help, labelNames, registers })
  const requests = counter('requests_total', 'Requests received.')
  const failures = counter('request_failures_total', 'Requests that could not be answered.')
  const bytesIn = counter('request_bytes_total', 'Bytes of requests.')
  const bytesOut = counter('response_bytes_total', 'Bytes of responses.')
  const seconds = counter('request_seconds_sum', 'Seconds from a request to its answer, summed.')
  const count = counter('request_seconds_count', 'Answers that request_seconds_sum sums.')
  const bucket = new Counter({
    name: 'millrace_request_seconds_bucket',
    help: 'Answers within le seconds, cumulative.',
    labelNames: ['api', 'le'],
    registers,
  })
  for (const [apiKey, total] of totalByApi(shards)) {
    const api = apiName(apiKey)
    requests.inc({ api }, total.requests)
    failures.inc({ api }, total.failures)
    bytesIn.inc({ api }, total.bytesIn)
    bytesOut.inc({ api }, total.bytesOut)
    seconds.inc({ api }, total.sumMs / 1000)
    let below = 0
    for (let at = 0; at < total.buckets.length; at++) {
      below += total.buckets[at]!
      const bound = LATENCY_BUCKETS_MS[at]
      bucket.inc({ api, le: bound === undefined ? '+Inf' : String(bound / 1000) }, below)
    }
    count.inc({ api }, below)
  }
}

function totalByApi(shards: readonly ShardFigures[]): Map<number, ApiCounts> {
  const totals = new Map<number, ApiCounts>()
  for (const shard of shards) {
    for (const [apiKey, counts] of shard.apis) {
      const total = totals.get(apiKey)
      if (total === undefined) {
        totals.set(apiKey, { ...counts, buckets: [...counts.buckets] })
        continue
      }
      total.requests += counts.requests
      total.failures += counts.failures
      total.bytesIn += counts.bytesIn
      total.bytesOut += counts.bytesOut
      total.sumMs += counts.sumMs
      for (let at = 0; at < total.buckets.length; at++) total.buckets[at]! += counts.buckets[at]!
    }
  }
  return totals
}

function writeShards(registry: Registry, shards: readonly ShardFigures[]): void {
  const registers = [registry]
  const gauge = (name: string, help: string) =>
    new Gauge({ name: `millrace_${name}`, help, labelNames: ['shard'], registers })
  const connections = gauge('connections', 'Open client connections.')
  const refused = gauge('connections_refused_total', 'Connections closed for what they sent.')
  const sessions = gauge('fetch_sessions', 'Fetch sessions kept.')
  const delayMean = gauge('event_loop_delay_mean_seconds', 'Mean delay of the event loop since the last scrape.')
  const delayP99 = gauge('event_loop_delay_p99_seconds', '99th percentile of it.')
  const delayMax = gauge('event_loop_delay_max_seconds', 'Largest one.')
  const gcCount = gauge('gc_pauses_total', 'Garbage collections.')
  const gcSeconds = gauge('gc_seconds_total', 'Seconds in garbage collections.')
  const gcMax = gauge('gc_pause_max_seconds', 'Longest garbage collection.')
  const heap = gauge('heap_used_bytes', 'JavaScript heap in use.')
  const storage = new Gauge({
    name: 'millrace_storage',
    help: 'Journal, write-behind, cache and arena figures by name.',
    labelNames: ['shard', 'figure'],
    registers,
  })
  const asked = gauge('asked_of_shards', 'Requests other shards have not answered yet.')
  const peerLoad = new Gauge({
    name: 'millrace_peer_load',
    help: 'Share of its journal memory in use, as a shard last heard it of another.',
    labelNames: ['shard', 'peer'],
    registers,
  })
  for (const figures of shards) {
    const shard = String(figures.shardId)
    asked.set({ shard }, figures.mailboxQueued)
    figures.peerLoads.forEach((load, peer) => {
      if (peer !== figures.shardId) peerLoad.set({ shard, peer: String(peer) }, load)
    })
    connections.set({ shard }, figures.connections)
    refused.set({ shard }, figures.connectionsRefused)
    sessions.set({ shard }, figures.fetchSessions)
    delayMean.set({ shard }, figures.eventLoopDelayMs.mean / 1000 || 0)
    delayP99.set({ shard }, figures.eventLoopDelayMs.p99 / 1000)
    delayMax.set({ shard }, figures.eventLoopDelayMs.max / 1000)
    gcCount.set({ shard }, figures.gc.count)
    gcSeconds.set({ shard }, figures.gc.sumMs / 1000)
    gcMax.set({ shard }, figures.gc.maxMs / 1000)
    heap.set({ shard }, figures.heapUsedBytes)
    for (const [figure, value] of flattened(figures.storage)) storage.set({ shard, figure }, value)
  }
}

/** Numbers of a nested object under snake_case names: arena.usedBytes becomes arena_used_bytes. */
function* flattened(object: object, prefix = ''): Generator<[string, number]> {
  for (const [key, value] of Object.entries(object)) {
    const name = prefix + key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    if (typeof value === 'number') yield [name, value]
    else if (typeof value === 'object' && value !== null) yield* flattened(value, `${name}_`)
  }
}

function writePartitions(registry: Registry, shards: readonly ShardFigures[]): void {
  const registers = [registry]
  const partitions = shards.flatMap((shard) => shard.partitions)
  const count = new Gauge({ name: 'millrace_partitions', help: 'Partitions on this broker.', registers })
  count.set(partitions.length)
  const highWatermarks = new Map<string, number>()
  for (const { topic, partition, highWatermark } of partitions)
    highWatermarks.set(`${partition}/${topic}`, highWatermark)
  if (partitions.length <= SERIES_MAX) {
    const gauge = (name: string, help: string) =>
      new Gauge({ name: `millrace_partition_${name}`, help, labelNames: ['topic', 'partition'], registers })
    const start = gauge('log_start_offset', 'First offset kept.')
    const end = gauge('log_end_offset', 'Offset of the next record.')
    const high = gauge('high_watermark', 'Offset below which everything is durable and visible.')
    const size = gauge('size_bytes', 'Bytes of the log.')
    for (const { topic, partition, logStartOffset, logEndOffset, highWatermark, sizeBytes } of partitions) {
      const labels = { topic, partition: String(partition) }
      start.set(labels, logStartOffset)
      end.set(labels, logEndOffset)
      high.set(labels, highWatermark)
      size.set(labels, sizeBytes)
    }
  }
  const offsets = shards.flatMap((shard) => shard.groupOffsets)
  if (offsets.length > SERIES_MAX) return
  const labelNames = ['group', 'topic', 'partition'] as const
  const lag = new Gauge({
    name: 'millrace_group_lag',
    help: 'Records a group has not committed.',
    labelNames,
    registers,
  })
  for (const { group, topic, partition, committedOffset } of offsets) {
    const highWatermark = highWatermarks.get(`${partition}/${topic}`)
    if (highWatermark === undefined || committedOffset < 0) continue
    lag.set({ group, topic, partition: String(partition) }, Math.max(0, highWatermark - committedOffset))
  }
}
