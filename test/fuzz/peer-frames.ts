// Hostile bytes into the peer port: mutated conversations of a broker must be understood or cut off, nothing else.
//
// Run directly: node test/fuzz/peer-frames.ts [--count 300000] [--seed N]. Most mutations are one connection to links that stand in
// virtual time: a hello and frames behind it, changed, cut into reads of any length. The others change what a linked broker
// sends, on its way. Half of the mutations get their checksums and lengths mended, so that what lies behind those is reached.

import { parseArgs } from 'node:util'
import { LinkKind, Purpose } from '../../broker/replication/link-handshake.ts'
import type { PeerReader } from '../../broker/replication/peer-wire.ts'
import { crc32cJs } from '../../protocol/records/crc32c.ts'
import { frameOf, helloOf } from '../unit/broker/replication/link-bytes.ts'
import { LinkWorld, PORT, type Process } from '../unit/broker/replication/link-world.ts'
import { SeededRandom, seedOfRun } from '../unit/protocol/random-message.ts'
import { mutate } from './decoders.ts'

export interface PeerFuzzReport {
  mutations: number
  /** The hello was good. */
  welcomed: number
  /** Turned away politely. */
  refused: number
  /** Cut off without a word. */
  cut: number
  /** Welcomed first, cut off later. */
  cutLater: number
  /** Changes of what a linked broker sends. */
  onLinks: number
  /** Of these: the link broke. */
  broken: number
  /** Messages handed out on links. */
  received: number
  slowestMicros: number
}

/** A mutation may take this long: its bytes are some kilobytes. */
const HANG_MICROS = 1_000_000
/** Connections to the same links before new ones are made. */
const PER_WORLD = 500

/** What a broker may say after its hello, frame by frame. */
function soundFrames(random: SeededRandom): Buffer[] {
  const frames = [
    frameOf((message) => message(LinkKind.READY).u32(random.below(4)).end()),
    frameOf((message) => message(LinkKind.PING).u32(random.below(1000)).end(), random.below(5)),
    frameOf((message) => {
      for (let at = 0; at < 5; at++)
        message(1 + random.below(100))
          .i32(at)
          .f64(at)
          .text('text')
          .end()
    }),
    frameOf((message) => message(LinkKind.PONG).u32(random.below(3)).end()),
  ]
  // Longer than what is kept in the connection: the frame memory takes it.
  if (random.oneIn(10)) frames.push(frameOf((message) => message(1).bytes(new Uint8Array(20_000)).end()))
  return frames
}

/** Mostly a good hello, and something to say behind it that is not. */
function conversation(random: SeededRandom, connectionNumber: number): [Buffer, Buffer] {
  const isProbe = random.oneIn(3)
  const hello = helloOf({
    purpose: isProbe ? Purpose.PROBE : Purpose.LINK,
    nodeId: 3 + random.below(3),
    incarnation: random.oneIn(20) ? random.below(5) : 7,
    wantedNode: random.oneIn(20) ? 2 : 1,
    connectionNumber,
  })
  const frames = isProbe ? [frameOf((message) => message(20).i32(1).text('text').end())] : soundFrames(random)
  if (random.oneIn(3)) return [Buffer.from(mutate(random, Buffer.concat([hello, ...frames]), frames)), Buffer.alloc(0)]
  const tail = Buffer.concat(frames.slice(random.below(frames.length)))
  return [hello, Buffer.from(mutate(random, tail, frames))]
}

/** Makes lengths and checksums right again where a frame can still be seen, and leaves the messages as they are. */
export function mend(bytes: Buffer): Buffer {
  const mended = Buffer.from(bytes)
  for (let at = 0; at + 20 <= mended.length; ) {
    let length = mended.readUInt32LE(at)
    if (length < 8 || length > mended.length - at - 12) {
      length = mended.length - at - 12
      mended.writeUInt32LE(length, at)
    }
    const end = at + 12 + length
    const crc = crc32cJs(mended, at + 8, end, crc32cJs(mended, at, at + 4, 0))
    mended.writeUInt32LE(crc, at + 4)
    at = end
  }
  return mended
}

/** One connection that writes these bytes, in pieces. */
function connect(
  world: LinkWorld,
  target: Process,
  random: SeededRandom,
  pieces: readonly Buffer[],
  report: PeerFuzzReport,
): void {
  const loop = world.world.loop()
  const socket = world.network.of(`stranger${random.below(50)}`, loop).dial(target.host, PORT)
  const heard: Buffer[] = []
  let isCut = false
  socket.open({
    read: (piece) => {
      heard.push(Buffer.from(piece))
      return true
    },
    closed: () => {
      isCut = true
    },
  })
  for (const bytes of pieces) {
    for (let at = 0; at < bytes.length; ) {
      const count = random.oneIn(3) ? 1 + random.below(30) : bytes.length
      socket.write([bytes.subarray(at, at + count)], () => {})
      at += count
    }
    if (!random.oneIn(4)) world.advance(1)
  }
  world.advance(1)
  const kind = Buffer.concat(heard)[12]
  if (kind === LinkKind.WELCOME) {
    report.welcomed++
    if (isCut) report.cutLater++
  } else if (kind === LinkKind.REFUSAL) report.refused++
  else report.cut++
  socket.destroy()
  world.advance(1)
  world.world.leave(loop)
}

/** Changes one piece of what a linked broker sends. */
function damage(world: LinkWorld, sender: Process, random: SeededRandom, report: PeerFuzzReport): void {
  world.world.until(() => sender.links.isUp(1, 0))
  let left = 1
  world.network.tamper = (from, to, bytes) => {
    if (from !== sender.host || to !== 'host1' || left === 0) return bytes
    left--
    const mutated = Buffer.from(mutate(random, bytes, [bytes]))
    return random.oneIn(2) ? mend(mutated) : mutated
  }
  for (let at = random.below(10); at >= 0; at--) {
    sender.links
      .begin(1, 0, 1 + random.below(100))
      ?.i32(at)
      .f64(at)
      .text('text')
      .attach(new Uint8Array(5000))
      .end()
  }
  world.advance(5)
  world.network.tamper = undefined
  report.onLinks++
  if (!sender.links.isUp(1, 0)) report.broken++
}

/** Reads a message as a part of the broker would: a mixture of everything. */
function digest(random: SeededRandom, reader: PeerReader): void {
  while (reader.hasMore) {
    switch (random.below(6)) {
      case 0:
        reader.u8()
        break
      case 1:
        reader.text()
        break
      case 2:
        reader.integer()
        break
      case 3:
        reader.bytes(reader.i32())
        break
      case 4:
        reader.rest()
        break
      default:
        reader.u32()
    }
  }
}

interface Target {
  readonly world: LinkWorld
  readonly target: Process
  readonly sender: Process
}

function makeWorld(random: SeededRandom, report: PeerFuzzReport): Target {
  const world = new LinkWorld()
  const target = world.process({ nodeId: 1, overrides: { frameBytesMax: 1 << 16 } })
  const sender = world.process({ nodeId: 2 })
  sender.knows(target)
  target.onReceive = (_, __, reader) => {
    report.received++
    digest(random, reader)
  }
  target.links.onProbe(20, (_, reader) => {
    digest(random, reader)
    return Buffer.from('answer')
  })
  return { world, target, sender }
}

/** Runs the mutations of a seed; throws at the first one that breaks a promise, with its bytes in the message. */
export function fuzzPeerFrames({ count, seed }: { count: number; seed: number }): PeerFuzzReport {
  const random = new SeededRandom(seed)
  const report: PeerFuzzReport = {
    mutations: 0,
    welcomed: 0,
    refused: 0,
    cut: 0,
    cutLater: 0,
    onLinks: 0,
    broken: 0,
    received: 0,
    slowestMicros: 0,
  }
  let { world, target, sender } = makeWorld(random, report)
  for (let i = 0; i < count; i++) {
    if (i % PER_WORLD === PER_WORLD - 1) ({ world, target, sender } = makeWorld(random, report))
    const startNanos = process.hrtime.bigint()
    let bytes: Buffer = Buffer.alloc(0)
    try {
      if (random.oneIn(5)) damage(world, sender, random, report)
      else {
        const pieces = conversation(random, i)
        const sent = random.oneIn(2) ? pieces.map(mend) : pieces
        bytes = Buffer.concat(sent)
        connect(world, target, random, sent, report)
      }
      // A frame of the linked broker may be on its way in pieces; one of its own is all that a connection holds.
      if (target.frameMemory > 1) throw new Error(`${target.frameMemory} frames keep their memory`)
    } catch (cause) {
      throw new Error(`seed ${seed}, mutation ${i}: ${String(cause)}; bytes ${bytes.toString('hex')}`, { cause })
    }
    const micros = Number((process.hrtime.bigint() - startNanos) / 1000n)
    report.slowestMicros = Math.max(report.slowestMicros, micros)
    report.mutations++
  }
  return report
}

function main(): void {
  const { values } = parseArgs({
    options: { count: { type: 'string', default: '300000' }, seed: { type: 'string' } },
  })
  const seed = values.seed === undefined ? seedOfRun() : Number(values.seed)
  console.log(`fuzzing the peer port: seed ${seed}, ${values.count} mutations`)
  const report = fuzzPeerFrames({ count: Number(values.count), seed })
  const { mutations, welcomed, refused, cut, cutLater, onLinks, broken, received, slowestMicros } = report
  console.log(
    `${mutations} mutations: ${welcomed} welcomed (${cutLater} cut off later), ${refused} refused, ${cut} cut off`,
  )
  console.log(`${onLinks} on links (${broken} broke), ${received} messages received, slowest ${slowestMicros} us`)
  if (slowestMicros > HANG_MICROS) throw new Error(`a mutation took ${slowestMicros} us`)
}

if (import.meta.main) main()
