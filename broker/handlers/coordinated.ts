// Requests about groups: sent to the shard that coordinates the group, or split over the shards that coordinate several.
//
// Runs on the connection's shard; what is asked of a coordinator runs on its shard.

import { ErrorCode } from '../../protocol/errors.ts'
import { coordinatorShard } from '../groups/routing.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api, CallContext } from './api.ts'

/**
 * Sends a request about one group to its coordinator.
 * @param refused the answer when no shard can be asked
 */
export function askCoordinator<Req, Res>(
  shard: ShardContext,
  api: Api<Req, Res>,
  call: CallContext,
  request: Req & { readonly groupId: string },
  refused: (error: ErrorCode) => Res,
): Res | Promise<Res> {
  const owner = coordinatorShard(request.groupId, shard)
  return owner === undefined ? refused(ErrorCode.NOT_COORDINATOR) : shard.ask(owner, api, call, request)
}

/** As askCoordinator, for requests that must name a group. */
export function askCoordinatorOfNamed<Req, Res>(
  shard: ShardContext,
  api: Api<Req, Res>,
  call: CallContext,
  request: Req & { readonly groupId: string },
  refused: (error: ErrorCode) => Res,
): Res | Promise<Res> {
  if (request.groupId === '') return refused(ErrorCode.INVALID_GROUP_ID)
  return askCoordinator(shard, api, call, request, refused)
}

/**
 * Asks the coordinators of several groups and gives one answer per item, in order.
 * @param refused the answer for an item for which no shard can be asked
 * @param ask sends some items to one shard; the answers come in the order of the items
 */
export async function perCoordinator<Item, Answer>(
  shard: ShardContext,
  items: readonly Item[],
  groupIdOf: (item: Item) => string,
  refused: (item: Item) => Answer,
  ask: (owner: number, items: Item[]) => Promise<readonly Answer[]>,
): Promise<Answer[]> {
  const answers = new Array<Answer>(items.length)
  const slotsByOwner = new Map<number, number[]>()
  for (const [slot, item] of items.entries()) {
    const owner = coordinatorShard(groupIdOf(item), shard)
    if (owner === undefined) {
      answers[slot] = refused(item)
      continue
    }
    const slots = slotsByOwner.get(owner)
    if (slots === undefined) slotsByOwner.set(owner, [slot])
    else slots.push(slot)
  }
  const asked = [...slotsByOwner].map(async ([owner, slots]) => {
    const parts = await ask(
      owner,
      slots.map((slot) => items[slot]!),
    )
    for (const [at, slot] of slots.entries()) answers[slot] = parts[at]!
  })
  await Promise.all(asked)
  return answers
}
