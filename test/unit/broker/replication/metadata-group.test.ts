import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Command, encodeCommand, NotController } from '../../../../broker/cluster/commands.ts'
import { MetadataImage } from '../../../../broker/cluster/metadata.ts'
import { raftIdOf } from '../../../../broker/cluster/raft-id.ts'
import { BrokerConfig } from '../../../../broker/config.ts'
import { OperatorError } from '../../../../broker/operator-error.ts'
import { COMMAND_ENTRY, MetadataGroup } from '../../../../broker/replication/metadata-group.ts'
import type { Replica } from '../../../../broker/replication/replica.ts'

const ids = (count: number): Command => ({ type: 'allocate-producer-ids', token: 't', count })

class World {
  readonly config = new BrokerConfig([])
  image = new MetadataImage(this.config)
  readonly group: MetadataGroup
  readonly published: { firstIndex: number; count: number; finish(): void }[] = []
  readonly here: number[] = []
  readonly events: string[] = []
  lastIndex = 0
  releaseElsewhere: () => void = () => {}
  isElsewhereSlow = false

  constructor() {
    this.group = new MetadataGroup({
      image: () => this.image,
      publish: (commands, firstIndex) => {
        let index = firstIndex
        for (const command of commands) this.image.apply(command, index++)
        return new Promise((finish) => this.published.push({ firstIndex, count: commands.length, finish }))
      },
      install: async (snapshot) => {
        this.image = MetadataImage.deserialize(snapshot, this.config)
      },
      appliedHere: (index) => void this.here.push(index),
      appliedElsewhere: () =>
        this.isElsewhereSlow
          ? new Promise((resolve) => {
              this.releaseElsewhere = resolve
            })
          : Promise.resolve(),
      leading: () => void this.events.push('leading'),
      following: (leader) => void this.events.push(`following ${leader}`),
      contradicted: (leader) => void this.events.push(`contradicted by ${leader}`),
      inSyncChanged: () => {},
    })
    this.group.attach({
      isLeader: true,
      leaderId: raftIdOf(1, 0),
      term: 3,
      inSync: () => [1],
      proposeEntry: () => ++this.lastIndex,
    } as unknown as Replica)
  }

  commit(firstIndex: number, commands: readonly Command[], index = firstIndex + commands.length - 1): void {
    for (const [at, command] of commands.entries()) {
      this.group.entry(firstIndex + at, 3, COMMAND_ENTRY, encodeCommand(command))
    }
    this.group.committedIndex(index)
  }
}

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}

/** What became of a promise, as far as it has. */
function watched(work: Promise<void>): { state: string } {
  const seen = { state: 'open' }
  work.then(
    () => (seen.state = 'done'),
    (error: Error) => (seen.state = error.name),
  )
  return seen
}

test('an append is answered when its commands are applied on every shard here and by the other brokers', async () => {
  const world = new World()
  world.isElsewhereSlow = true
  world.group.leading()
  const append = watched(world.group.append([ids(5), ids(7)]))
  world.commit(1, [ids(5), ids(7)])
  await settle()
  assert.equal(world.image.nextProducerId, 12)
  assert.equal(append.state, 'open', 'a shard of this broker has not answered')
  world.published[0]!.finish()
  await settle()
  assert.equal(append.state, 'open', 'another broker has not answered')
  world.releaseElsewhere()
  await settle()
  assert.equal(append.state, 'done')
})

test('a broker that does not lead takes no changes, and one that ceases to leaves open what became of them', async () => {
  const world = new World()
  await assert.rejects(world.group.append([ids(1)]), NotController)
  world.group.leading()
  const append = watched(world.group.append([ids(1)]))
  world.group.following(raftIdOf(2, 0))
  await settle()
  assert.equal(append.state, 'NotController')
  assert.equal(world.group.leader, 2)
  assert.equal(world.group.isActive, false)
  // Committed after all, under the next leader: applied once, and nobody is answered twice.
  world.commit(1, [ids(1)])
  assert.equal(world.image.nextProducerId, 1)
})

test('a leader with another history is told of by the number of its broker', () => {
  const world = new World()
  world.group.contradicted(raftIdOf(2, 3))
  assert.deepEqual(world.events, ['contradicted by 2'])
})

test('followers apply what is committed, in order, and say how far every shard is', async () => {
  const world = new World()
  world.commit(1, [ids(1)])
  world.commit(2, [ids(2)], 5)
  world.published[1]!.finish()
  await settle()
  assert.equal(Math.max(...world.here, -1), 0, 'the first publication is still at work')
  world.published[0]!.finish()
  await settle()
  assert.equal(world.here.at(-1), 5)
  assert.equal(world.image.nextProducerId, 3)
})

test('commands with other entries between them are published in consecutive runs', () => {
  const world = new World()
  world.group.entry(1, 3, COMMAND_ENTRY, encodeCommand(ids(1)))
  world.group.entry(2, 3, COMMAND_ENTRY, encodeCommand(ids(1)))
  world.group.entry(4, 3, COMMAND_ENTRY, encodeCommand(ids(1)))
  world.group.committedIndex(4)
  assert.deepEqual(
    world.published.map(({ firstIndex, count }) => [firstIndex, count]),
    [
      [1, 2],
      [4, 1],
    ],
  )
})

test('what a snapshot covers is not applied again', async () => {
  const ahead = new World()
  ahead.commit(1, [ids(10), ids(10)])
  const world = new World()
  world.group.install(ahead.group.snapshot())
  await settle()
  world.commit(2, [ids(10), ids(1)])
  assert.equal(world.image.nextProducerId, 21)
  assert.equal(world.image.appliedIndex, 3)
})

test('a command of a newer release stops the apply with its name', () => {
  const world = new World()
  const payload = new TextEncoder().encode(JSON.stringify({ type: 'fly', version: 1 }))
  assert.throws(
    () => world.group.entry(1, 3, COMMAND_ENTRY, payload),
    (error) => {
      return error instanceof OperatorError && /fly/.test(error.message)
    },
  )
})
