// Changes of configs on their way to the controller: what only the asked broker can judge is answered here.
//
// Runs on the connection's shard. Loggers belong to one process, and which broker was asked decides about a broker's name.

import { ErrorCode } from '../../protocol/errors.ts'
import type { AlterConfigsResponse } from '../../protocol/messages/alter-configs.ts'
import type { ResourceChange } from '../cluster/config-changes.ts'
import { planConfigChanges, setLevel } from '../cluster/config-changes.ts'
import { ResourceType } from '../cluster/config-report.ts'
import type { ShardContext } from '../shard/context.ts'

type Results = AlterConfigsResponse['responses']

interface NamedResource {
  readonly resourceType: number
  readonly resourceName: string
}

/**
 * Answers what is this broker's own business, does it unless the request is only to be checked, and asks for the rest.
 * @param changes one for each resource of the request, in order
 * @param ask sends the resources that are left to the controller
 */
export async function changeConfigs<Resource extends NamedResource>(
  shard: ShardContext,
  resources: readonly Resource[],
  changes: readonly ResourceChange[],
  validateOnly: boolean,
  ask: (resources: Resource[]) => Promise<AlterConfigsResponse>,
): Promise<AlterConfigsResponse> {
  const { threshold } = shard.environment.logger
  const planned = planConfigChanges(changes, shard.image, shard.config, threshold !== undefined)
  const isAnsweredHere = resources.map(({ resourceType }, at) => {
    if (resourceType === ResourceType.BROKER_LOGGER) return true
    return resourceType === ResourceType.BROKER && planned[at]?.error !== ErrorCode.NONE
  })
  const left = resources.filter((_, at) => !isAnsweredHere[at])
  const answer =
    left.length > 0 || resources.length === 0 ? await ask(left) : { throttleTimeMs: 0, responses: [] as Results }
  const asked = answer.responses[Symbol.iterator]()
  const responses: Results = []
  resources.forEach(({ resourceType, resourceName }, at) => {
    if (!isAnsweredHere[at]) {
      const { value } = asked.next()
      if (value !== undefined) responses.push(value)
      return
    }
    const plan = planned[at]
    const change = changes[at]
    const isLevel = resourceType === ResourceType.BROKER_LOGGER && plan?.error === ErrorCode.NONE && !validateOnly
    if (isLevel && change !== undefined && threshold !== undefined) setLevel(change, threshold)
    responses.push({
      errorCode: plan?.error ?? ErrorCode.NONE,
      errorMessage: plan !== undefined && 'message' in plan ? plan.message : null,
      resourceType,
      resourceName,
    })
  })
  return { ...answer, responses }
}
