import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LATENCY_BUCKETS_MS, ShardMetrics } from '../../../../broker/observe/shard-metrics.ts'

const last = LATENCY_BUCKETS_MS.length

function bucketsOf(...tookMs: number[]): number[] {
  const metrics = new ShardMetrics()
  for (const took of tookMs) metrics.answered(0, 0, took)
  return metrics.apis()[0]![1].buckets
}

test('the bounds rise, so that one answer has one bucket', () => {
  for (let at = 1; at < last; at++) assert.ok(LATENCY_BUCKETS_MS[at]! > LATENCY_BUCKETS_MS[at - 1]!)
})

test('an answer exactly at a bound belongs to the bucket of that bound', () => {
  for (let at = 0; at < last; at++) assert.equal(bucketsOf(LATENCY_BUCKETS_MS[at]!)[at], 1)
})

test('an answer just above a bound belongs to the next bucket', () => {
  for (let at = 0; at < last; at++) assert.equal(bucketsOf(LATENCY_BUCKETS_MS[at]! + 0.001)[at + 1], 1)
})

test('answers below all bounds and above all bounds are counted too', () => {
  const buckets = bucketsOf(0, 1e9, Number.POSITIVE_INFINITY)
  assert.equal(buckets.length, last + 1)
  assert.equal(buckets[0], 1)
  assert.equal(buckets[last], 2)
})

test('each API has counts of its own', () => {
  const metrics = new ShardMetrics()
  metrics.received(0, 100)
  metrics.received(0, 50)
  metrics.received(1, 7)
  metrics.answered(0, 20, 3)
  metrics.answered(0, 22, 4)
  metrics.failed(1)
  const apis = new Map(metrics.apis())
  const produce = apis.get(0)!
  assert.deepEqual(
    { ...produce, buckets: produce.buckets.reduce((sum, count) => sum + count, 0) },
    { requests: 2, failures: 0, bytesIn: 150, bytesOut: 42, sumMs: 7, buckets: 2 },
  )
  const fetch = apis.get(1)!
  assert.deepEqual([fetch.requests, fetch.failures, fetch.bytesIn, fetch.bytesOut], [1, 1, 7, 0])
})
