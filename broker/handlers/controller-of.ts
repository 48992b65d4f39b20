// The controller: for the code that serves administration on shard 0's thread, and as clients are told of it.

import { invariant } from '../../protocol/invariant.ts'
import type { Controller } from '../cluster/controller.ts'
import type { ShardContext } from '../shard/context.ts'
import { isShown } from './brokers.ts'

export function controllerOf(shard: ShardContext): Controller {
  const { controller } = shard
  invariant(controller !== undefined, 'changes of the cluster are served on the shard of the controller', shard.shardId)
  return controller
}

/**
 * Broker id told to clients as the controller, -1 for none. Every broker passes administration on to the controller, so while the
 * last known one is dead any other will do; but not this one, which knows of no controller then.
 */
export function advertisedController(
  shard: Pick<ShardContext, 'config' | 'image' | 'isAlive' | 'isController' | 'isCutOff'>,
): number {
  const { nodeId: ownId } = shard.config
  const { controllerId, brokers } = shard.image
  if (shard.isController) return ownId
  if (controllerId < 0) return controllerId
  if (controllerId !== ownId && isShown(shard, controllerId)) return controllerId
  const others = brokers.filter(({ nodeId }) => nodeId !== ownId)
  const other = others.find(({ nodeId }) => isShown(shard, nodeId))
  if (other !== undefined) return other.nodeId
  return controllerId === ownId ? (others[0]?.nodeId ?? ownId) : controllerId
}
