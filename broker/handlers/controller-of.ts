// The controller: for the code that serves administration on shard 0's thread, and as clients are told of it.

import { invariant } from '../../protocol/invariant.ts'
import type { Controller } from '../cluster/controller.ts'
import type { ShardContext } from '../shard/context.ts'

export function controllerOf(shard: ShardContext): Controller {
  const { controller } = shard
  invariant(controller !== undefined, 'changes of the cluster are served on the shard of the controller', shard.shardId)
  return controller
}

/**
 * Broker id told to clients as the controller, -1 for none. Every broker passes administration on to the controller, so while the
 * last known one is dead any other will do.
 */
export function advertisedController(shard: Pick<ShardContext, 'image' | 'isAlive'>): number {
  const { controllerId, brokers } = shard.image
  if (controllerId < 0 || shard.isAlive(controllerId)) return controllerId
  return brokers.find(({ nodeId }) => shard.isAlive(nodeId))?.nodeId ?? controllerId
}
