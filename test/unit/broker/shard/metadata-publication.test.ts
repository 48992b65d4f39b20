// The image of a shard from the log that its start finds to the moment in which its partitions are open.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import type { LinkInfo } from '../../../../broker/replication/link-types.ts'
import { PeerReader } from '../../../../broker/replication/peer-wire.ts'
import { Leaders } from '../../../../broker/shard/leaders.ts'
import { MetadataPublication, type PublicationOptions } from '../../../../broker/shard/metadata-publication.ts'
import type { Post } from '../../../../broker/shard/post.ts'
import { WireReader, WireWriter } from '../../../../broker/shard/wire.ts'
import { ManualClock } from '../cluster/fixture.ts'

const config = new BrokerConfig([['node.id', '1']])

class Bench {
  readonly sent: { to: number; bytes: Buffer }[] = []
  readonly identified: string[] = []
  readonly leaders: Leaders
  readonly publication: MetadataPublication

  constructor(shardId: number, shardCount: number) {
    const writer = new WireWriter()
    const post = {
      message: (kind: number, id: number) => writer.begin(kind, id, 0),
      send: (to: number, message: WireWriter) => this.sent.push({ to, bytes: Buffer.from(message.finish()) }),
    } as unknown as Post
    let nextId = 1
    const options = {
      ...{ shardId, shardCount, config },
      post: () => post,
      nextId: () => nextId++,
      partitions: {},
      identified: ({ clusterId }: { clusterId: string }) => void this.identified.push(clusterId),
      imageChanged: () => this.leaders.imageChanged(),
      topicGone() {},
    }
    this.leaders = new Leaders({
      ...{ nodeId: 1, shardId, shardCount, links: undefined },
      clock: new ManualClock(),
      image: () => this.publication.image,
      post: () => post,
      wantsFlush: () => {},
    })
    this.publication = new MetadataPublication({ ...options, leaders: this.leaders } as unknown as PublicationOptions)
  }
}

test('what other brokers say of their leaders before the metadata is open counts once it is', async () => {
  const found = new MetadataImage(config)
  found.apply({ type: 'create-topic', name: 't', topicId: 'AAAAAAAAAAAAAAAAAAAAAQ', assignments: [[2]], configs: {} })
  const { leaders, publication } = new Bench(0, 1)
  const writer = new WireWriter()
  // Group 1 in epoch 5; nobody but the leader is in sync.
  const news = writer.begin(0, 0, 0).i32(1).i32(5).u8(1).i32(2)
  leaders.onPeer({ nodeId: 2, shardId: 0 } as LinkInfo, new PeerReader(Buffer.from(news.finish().subarray(8))))
  await publication.install(found.serialize(), undefined)
  publication.start({ clusterId: 'c', directoryEpoch: 0, isFounder: true, isRegistered: true })
  publication.begin()
  const led = publication.image.partitionByGroup(1)?.partition
  assert.deepEqual([led?.leader, led?.leaderEpoch], [2, 5])
})

test('shards that do not have an image yet hear that the cluster of the record is given up, and say so', async () => {
  const first = new Bench(0, 2)
  let isKnown = false
  const known = first.publication.givenUp().then(() => {
    isKnown = true
  })
  const [message] = first.sent
  assert.equal(message?.to, 1)
  const second = new Bench(1, 2)
  // The only publication of this shard.
  second.publication.onMetadata(0, 1, new WireReader().open(message.bytes))
  for (let turn = 0; turn < 5; turn++) await Promise.resolve()
  assert.deepEqual(second.identified, [''])
  assert.equal(isKnown, false)
  assert.equal(second.sent.length, 1)
  first.publication.onApplied(1)
  await known
})
