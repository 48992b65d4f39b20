// Which shard of this broker owns which Raft group: a pure function of the group number, the same on every thread.
//
// Group numbers are handed out one after another, so the remainder spreads the partitions of one topic evenly. Group 0, the
// metadata group, lands on shard 0. Another shard count gives another placement: move-groups.ts moves them at start.

export function shardOf(groupId: number, shardCount: number): number {
  return groupId % shardCount
}
