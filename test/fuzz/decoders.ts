// Hostile bytes into every request decoder: mutated frames must decode or be refused as malformed, nothing else.
//
// Run directly: node test/fuzz/decoders.ts [--count 1000000] [--seed N]. Start frames are random requests of every version
// and what clients sent in recordings: test/fuzz/corpus/*.bin, each the raw bytes of one connection's requests, frame after
// frame with their lengths in front.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { apiName } from '../../protocol/api.ts'
import { decoder } from '../../protocol/compile.ts'
import { readRequestHeader, writeRequestHeader } from '../../protocol/frame.ts'
import { API_MESSAGES } from '../../protocol/messages/index.ts'
import { MalformedFrame, Reader } from '../../protocol/reader.ts'
import { includes } from '../../protocol/schema.ts'
import { Writer } from '../../protocol/writer.ts'
import { versionsOf } from '../unit/protocol/all-messages.ts'
import { randomMessage, referenceEncode, SeededRandom, seedOfRun } from '../unit/protocol/random-message.ts'

/** A frame without its length prefix. */
export type Frame = Uint8Array

export interface FuzzReport {
  mutations: number
  /** Mutations that were still valid requests. */
  decoded: number
  /** Mutations refused as MalformedFrame. */
  refused: number
  /** Mutations whose api key or version we do not declare, so that no decoder ran. */
  notOurs: number
  slowestMicros: number
  /** APIs whose decoder ran at least once. */
  readonly apis: Set<string>
}

/** A decode may take this long; a frame here is some kilobytes, so a second means a loop that the bytes control. */
const HANG_MICROS = 1_000_000
const FRAMES_PER_VERSION = 3
const FRAME_BYTES_MAX = 16_384

/** Frames of every request in every version, most of them with tagged fields nobody knows. */
export function randomFrames(random: SeededRandom): Frame[] {
  const frames: Frame[] = []
  for (const [apiKey, { request }] of API_MESSAGES) {
    for (const apiVersion of versionsOf(request)) {
      for (let i = 0; i < FRAMES_PER_VERSION; i++) {
        const writer = new Writer()
        writeRequestHeader(writer, { apiKey, apiVersion, correlationId: i, clientId: i === 0 ? null : 'fuzz' })
        const { decoded } = randomMessage(random, request, apiVersion)
        writer.copy(referenceEncode(request, apiVersion, decoded, { unknownTags: i === 1, allTags: i === 2 }))
        if (writer.byteLength <= FRAME_BYTES_MAX) frames.push(new Uint8Array(writer.toBytes()))
      }
    }
  }
  return frames
}

/** Frames recorded from real clients; none where the folder is absent. */
export function recordedFrames(folder: string): Frame[] {
  if (!existsSync(folder)) return []
  const files = readdirSync(folder).filter((name) => name.endsWith('.bin'))
  return files.sort().flatMap((name) => splitFrames(readFileSync(path.join(folder, name))))
}

function splitFrames(stream: Buffer): Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at + 4 <= stream.length; ) {
    const end = at + 4 + stream.readInt32BE(at)
    if (end < at + 4 || end > stream.length) break
    frames.push(new Uint8Array(stream.subarray(at + 4, end)))
    at = end
  }
  return frames
}

/** Numbers that lengths and counts are replaced with. */
const NASTY = [
  [0x7f, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0xfe],
  [0x80, 0x00, 0x00, 0x00],
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0x80, 0x80, 0x80, 0x80, 0x08],
  [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
  [0x7f, 0xff],
  [0x80, 0x00],
  [0xff, 0x7f],
  [0x00],
]

/** One to four changes; nearly always behind the api key and version, so that the decoder is reached. */
export function mutate(random: SeededRandom, frame: Frame, frames: readonly Frame[]): Frame {
  let bytes = Buffer.from(frame)
  for (let changes = 1 + random.below(4); changes > 0 && bytes.length > 0; changes--) {
    const first = random.oneIn(50) ? 0 : Math.min(8, bytes.length - 1)
    const at = first + random.below(bytes.length - first)
    switch (random.below(8)) {
      case 0:
        bytes[at] = bytes[at]! ^ (1 << random.below(8))
        break
      case 1:
        bytes[at] = random.below(256)
        break
      case 2:
      case 3:
        bytes.set(random.pick(NASTY).slice(0, bytes.length - at), at)
        break
      case 4:
        bytes = bytes.subarray(0, at)
        break
      case 5: {
        const end = at + random.below(Math.min(40, bytes.length - at) + 1)
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)])
        break
      }
      case 6: {
        const end = at + random.below(Math.min(200, bytes.length - at) + 1)
        bytes = Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)])
        break
      }
      default: {
        const other = random.pick(frames)
        const from = random.below(other.length)
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(from, from + random.below(200))])
      }
    }
  }
  return bytes
}

/**
 * Decodes one frame as a connection would.
 * @throws Error when anything but a message or a MalformedFrame comes out, or the message is larger than its bytes allow
 */
export function decodeFrame(frame: Frame, report: FuzzReport): void {
  // Behind the frame lie other bytes, which must not be read: a decoder that does so sees a 0xee.
  const around = new Uint8Array(frame.length + 16).fill(0xee)
  around.set(frame)
  const reader = new Reader(around, 0, frame.length)
  const startNanos = process.hrtime.bigint()
  try {
    const { apiKey, apiVersion } = readRequestHeader(reader)
    const { request } = API_MESSAGES.get(apiKey)!
    if (!includes(request.versions, apiVersion)) {
      report.notOurs++
      return
    }
    report.apis.add(apiName(apiKey))
    const message = decoder(request, apiVersion)(reader)
    if (reader.position > frame.length) throw new Error('the decoder read beyond its frame')
    const size = sizeOf(message)
    if (size > frame.length) throw new Error(`${size} elements and bytes came out of ${frame.length} bytes`)
    report.decoded++
  } catch (error) {
    if (!(error instanceof MalformedFrame)) throw error
    report.refused++
  } finally {
    const micros = Number((process.hrtime.bigint() - startNanos) / 1000n)
    report.slowestMicros = Math.max(report.slowestMicros, micros)
  }
}

/** Array elements and bytes in a decoded message: what its memory grows with. */
function sizeOf(value: unknown): number {
  if (value instanceof Uint8Array) return value.length
  if (Array.isArray(value))
    return value.reduce<number>((sum, element) => sum + 1 + (isNested(element) ? sizeOf(element) : 0), 0)
  if (value === null || typeof value !== 'object') return 0
  return Object.values(value).reduce<number>((sum, member) => sum + sizeOf(member), 0)
}

function isNested(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}

export interface FuzzOptions {
  readonly count: number
  readonly seed: number
  /** Folder of recorded frames. */
  readonly corpus?: string
}

export const CORPUS_FOLDER = path.join(import.meta.dirname, 'corpus')

/** Runs the mutations of a seed; throws at the first frame that breaks a promise, with the frame in the message. */
export function fuzzDecoders({ count, seed, corpus = CORPUS_FOLDER }: FuzzOptions): FuzzReport {
  const random = new SeededRandom(seed)
  const frames = [...recordedFrames(corpus), ...randomFrames(random)]
  const report: FuzzReport = { mutations: 0, decoded: 0, refused: 0, notOurs: 0, slowestMicros: 0, apis: new Set() }
  for (let i = 0; i < count; i++) {
    const mutated = mutate(random, frames[i % frames.length]!, frames)
    try {
      decodeFrame(mutated, report)
    } catch (cause) {
      const frame = Buffer.from(mutated).toString('hex')
      throw new Error(`seed ${seed}, mutation ${i}: ${String(cause)}; frame ${frame}`, { cause })
    }
    report.mutations++
  }
  return report
}

function main(): void {
  const { values } = parseArgs({
    options: { count: { type: 'string', default: '1000000' }, seed: { type: 'string' } },
  })
  const seed = values.seed === undefined ? seedOfRun() : Number(values.seed)
  const recorded = recordedFrames(CORPUS_FOLDER).length
  console.log(`fuzzing request decoders: seed ${seed}, ${values.count} mutations, ${recorded} recorded frames`)
  const report = fuzzDecoders({ count: Number(values.count), seed })
  const { mutations, decoded, refused, notOurs, slowestMicros, apis } = report
  const heapMiB = Math.round(process.memoryUsage().rss / 1_048_576)
  console.log(
    `${mutations} mutations: ${decoded} decoded, ${refused} refused as malformed, ${notOurs} of no declared API`,
  )
  console.log(`${apis.size} request decoders, slowest decode ${slowestMicros} us, resident at the end ${heapMiB} MiB`)
  if (slowestMicros > HANG_MICROS) throw new Error(`a decode took ${slowestMicros} us`)
}

if (import.meta.main) main()
