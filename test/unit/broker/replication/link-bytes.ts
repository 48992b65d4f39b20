// Frames and introductions as bytes, sound ones to begin with: for tests that speak to a peer port by hand.

import { ChunkPool, FrameWriter } from '../../../../broker/replication/frame.ts'
import {
  type Hello,
  LinkKind,
  Purpose,
  VERSION_MAX,
  VERSION_MIN,
  writeHello,
} from '../../../../broker/replication/link-handshake.ts'
import type { PeerWriter } from '../../../../broker/replication/peer-wire.ts'

/** The bytes of one frame with these messages. */
export function frameOf(fill: (message: (kind: number) => PeerWriter) => void, defections = 0): Buffer {
  const pieces: Buffer[] = []
  const writer = new FrameWriter(new ChunkPool(), 64 << 20, (frame) => {
    pieces.push(Buffer.concat(frame.fragments))
    frame.done()
  })
  writer.defections = defections
  fill((kind) => writer.begin(kind))
  writer.seal()
  return Buffer.concat(pieces)
}

export const HELLO: Hello = {
  versionMin: VERSION_MIN,
  versionMax: VERSION_MAX,
  purpose: Purpose.LINK,
  wantedNode: 1,
  wantedShard: 0,
  connectionNumber: 1,
  nodeId: 7,
  shardId: 0,
  shardCount: 1,
  clusterId: 'cluster',
  directoryId: 'directory7',
  incarnation: 77,
  address: { host: 'stranger', port: 9000 },
  messageBytesMax: 1 << 20,
}

export function helloOf(changes: Partial<Hello> = {}): Buffer {
  return frameOf((message) => {
    const writer = message(LinkKind.HELLO)
    writeHello(writer, { ...HELLO, ...changes })
    writer.end()
  })
}
