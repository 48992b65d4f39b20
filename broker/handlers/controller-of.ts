// The controller, from the code that serves administration on shard 0's thread.

import { invariant } from '../../protocol/invariant.ts'
import type { Controller } from '../cluster/controller.ts'
import type { ShardContext } from '../shard/context.ts'

/** Shard that runs the controller: handlers send it what changes the cluster. */
export const CONTROLLER_SHARD = 0

export function controllerOf(shard: ShardContext): Controller {
  const { controller } = shard
  invariant(controller !== undefined, 'changes of the cluster are served on the shard of the controller', shard.shardId)
  return controller
}
