import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type MetricsEndpoint, startMetricsEndpoint } from '../../../../broker/observe/metrics.ts'
import { type ShardFigures, ShardMetrics } from '../../../../broker/observe/shard-metrics.ts'
import { OperatorError } from '../../../../broker/operator-error.ts'

function figuresOf(shardId: number, changes: Partial<ShardFigures> = {}): ShardFigures {
  const metrics = new ShardMetrics()
  metrics.received(0, 100)
  metrics.answered(0, 10, shardId === 0 ? 0.2 : 30)
  return {
    shardId,
    apis: metrics.apis(),
    connections: 2,
    connectionsRefused: 0,
    partitions: [],
    groupOffsets: [],
    fetchSessions: 0,
    mailboxQueued: 0,
    peerLoads: [],
    storage: { journalRounds: 4, arenaBytes: { cache: 4096 }, name: 'not a number' },
    eventLoopDelayMs: { mean: Number.NaN, p99: 2, max: 3 },
    gc: { count: 1, sumMs: 5, maxMs: 5 },
    heapUsedBytes: 1000,
    ...changes,
  }
}

async function withEndpoint(
  figures: (perPartition: boolean) => Promise<ShardFigures[]>,
  use: (endpoint: MetricsEndpoint) => Promise<void>,
): Promise<void> {
  const endpoint = await startMetricsEndpoint({ host: '127.0.0.1', port: 0, figures })
  try {
    await use(endpoint)
  } finally {
    await endpoint.close()
  }
}

test('the shards add up per API, and latency buckets are cumulative', async () => {
  await withEndpoint(
    async () => [figuresOf(0), figuresOf(1)],
    async ({ url }) => {
      const response = await fetch(url)
      assert.match(response.headers.get('content-type') ?? '', /^text\/plain/)
      const lines = (await response.text()).split('\n')
      for (const line of [
        'millrace_requests_total{api="Produce"} 2',
        'millrace_request_bytes_total{api="Produce"} 200',
        'millrace_response_bytes_total{api="Produce"} 20',
        'millrace_request_seconds_bucket{api="Produce",le="0.0001"} 0',
        'millrace_request_seconds_bucket{api="Produce",le="0.00025"} 1',
        'millrace_request_seconds_bucket{api="Produce",le="0.025"} 1',
        'millrace_request_seconds_bucket{api="Produce",le="0.05"} 2',
        'millrace_request_seconds_bucket{api="Produce",le="+Inf"} 2',
        'millrace_request_seconds_count{api="Produce"} 2',
      ]) {
        assert.ok(lines.includes(line), `${line}\nin\n${lines.join('\n')}`)
      }
    },
  )
})

test('a shard shows its loop, its collections and what its storage counts', async () => {
  await withEndpoint(
    async () => [figuresOf(3)],
    async ({ url }) => {
      const text = await (await fetch(url)).text()
      assert.match(text, /^millrace_event_loop_delay_mean_seconds\{shard="3"\} 0$/m)
      assert.match(text, /^millrace_event_loop_delay_p99_seconds\{shard="3"\} 0\.002$/m)
      assert.match(text, /^millrace_gc_pauses_total\{shard="3"\} 1$/m)
      assert.match(text, /^millrace_storage\{shard="3",figure="journal_rounds"\} 4$/m)
      assert.match(text, /^millrace_storage\{shard="3",figure="arena_bytes_cache"\} 4096$/m)
      assert.doesNotMatch(text, /not a number/)
    },
  )
})

const partition = { topic: 't', partition: 0, logStartOffset: 1, logEndOffset: 9, highWatermark: 8, sizeBytes: 77 }

test('lag is the high watermark less what the group has committed, whichever shard holds which', async () => {
  const groupOffsets = [
    { group: 'g', topic: 't', partition: 0, committedOffset: 5 },
    { group: 'ahead', topic: 't', partition: 0, committedOffset: 100 },
    { group: 'gone', topic: 'deleted', partition: 0, committedOffset: 5 },
  ]
  await withEndpoint(
    async () => [figuresOf(0, { groupOffsets }), figuresOf(1, { partitions: [partition] })],
    async ({ url }) => {
      const text = await (await fetch(url)).text()
      assert.match(text, /^millrace_partition_log_start_offset\{topic="t",partition="0"\} 1$/m)
      assert.match(text, /^millrace_partition_log_end_offset\{topic="t",partition="0"\} 9$/m)
      assert.match(text, /^millrace_partition_high_watermark\{topic="t",partition="0"\} 8$/m)
      assert.match(text, /^millrace_partition_size_bytes\{topic="t",partition="0"\} 77$/m)
      assert.match(text, /^millrace_group_lag\{group="g",topic="t",partition="0"\} 3$/m)
      assert.match(text, /^millrace_group_lag\{group="ahead",topic="t",partition="0"\} 0$/m)
      assert.doesNotMatch(text, /group="gone"/)
    },
  )
})

test('series per partition can be left out, and are beyond ten thousand partitions', async () => {
  const many = Array.from({ length: 10_001 }, (_, index) => ({ ...partition, partition: index }))
  const asked: boolean[] = []
  await withEndpoint(
    async (perPartition) => {
      asked.push(perPartition)
      return [figuresOf(0, perPartition ? { partitions: many } : {})]
    },
    async ({ url }) => {
      const text = await (await fetch(url)).text()
      assert.match(text, /^millrace_partitions 10001$/m)
      assert.doesNotMatch(text, /millrace_partition_/)
      assert.doesNotMatch(await (await fetch(`${url}?partitions=off`)).text(), /^millrace_partitions /m)
      assert.deepEqual(asked, [true, false])
    },
  )
})

test('shards that cannot be asked are a 503, another path is a 404', async () => {
  await withEndpoint(
    () => Promise.reject(new Error('no shard')),
    async ({ url }) => {
      const failed = await fetch(url)
      assert.equal(failed.status, 503)
      assert.equal(await failed.text(), 'no shard\n')
      assert.equal((await fetch(new URL('/', url))).status, 404)
    },
  )
})

test('a port that is taken is one clear line', async () => {
  await withEndpoint(
    async () => [],
    async ({ url }) => {
      const port = Number(new URL(url).port)
      await assert.rejects(startMetricsEndpoint({ host: '127.0.0.1', port, figures: async () => [] }), (error) => {
        assert.ok(error instanceof OperatorError)
        assert.match(error.message, new RegExp(`cannot listen on 127.0.0.1:${port} for metrics: EADDRINUSE`))
        return true
      })
    },
  )
})
