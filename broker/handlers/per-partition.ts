// Requests that name partitions of several shards: split by owner, asked of each, joined in the order of the request.
//
// Runs on the connection's shard; what is asked of an owner runs there.

import { ErrorCode } from '../../protocol/errors.ts'
import type { Partition } from '../partition/partition.ts'
import type { ShardContext } from '../shard/context.ts'
import { shardOf } from '../shard/placement.ts'
import { isHosted } from './brokers.ts'

export interface PartitionItem {
  readonly topic: string
  readonly partition: number
}

/**
 * Asks the shards of this broker that own the items and gives one answer per item, in order.
 * @param refused the answer for an item that no metadata know, or that this broker has no replica of
 * @param ask sends some items to one shard; the answers come in the order of the items
 */
export async function perOwner<Item extends PartitionItem, Answer>(
  shard: ShardContext,
  items: readonly Item[],
  refused: (item: Item, error: ErrorCode) => Answer,
  ask: (owner: number, items: readonly Item[]) => Promise<readonly Answer[]>,
): Promise<Answer[]> {
  const answers = new Array<Answer>(items.length)
  const slotsByOwner = new Map<number, number[]>()
  for (let slot = 0; slot < items.length; slot++) {
    const item = items[slot]!
    const partition = shard.image.topicByName(item.topic)?.partitions[item.partition]
    if (partition === undefined) {
      answers[slot] = refused(item, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
      continue
    }
    if (!isHosted(shard, partition)) {
      answers[slot] = refused(item, ErrorCode.NOT_LEADER_OR_FOLLOWER)
      continue
    }
    const owner = shardOf(partition.groupId, shard.shardCount)
    const slots = slotsByOwner.get(owner)
    if (slots === undefined) slotsByOwner.set(owner, [slot])
    else slots.push(slot)
  }
  const asked = [...slotsByOwner].map(async ([owner, slots]) => {
    const parts = await ask(
      owner,
      slots.map((slot) => items[slot]!),
    )
    for (let at = 0; at < slots.length; at++) answers[slots[at]!] = parts[at]!
  })
  await Promise.all(asked)
  return answers
}

/** A partition of this shard by name and number. */
export function ownPartition(shard: ShardContext, topic: string, partition: number): Partition | undefined {
  const image = shard.image.topicByName(topic)?.partitions[partition]
  return image === undefined ? undefined : shard.partition(image.groupId)
}

/** Puts answers back under their topics: consecutive items of one topic make one entry. */
export function byTopic<Item extends PartitionItem, Answer>(
  items: readonly Item[],
  answers: readonly Answer[],
): { topic: string; answers: Answer[] }[] {
  const topics: { topic: string; answers: Answer[] }[] = []
  for (let at = 0; at < items.length; at++) {
    const { topic } = items[at]!
    const last = topics.at(-1)
    if (last?.topic === topic) last.answers.push(answers[at]!)
    else topics.push({ topic, answers: [answers[at]!] })
  }
  return topics
}
