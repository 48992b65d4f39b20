// DescribeConfigs: configs of topics, of this broker, of groups and client metrics, with where their values come from.
//
// Answered on the connection's shard from its own image: nothing is asked of other shards.

import { ErrorCode } from '../../protocol/errors.ts'
import type { DescribeConfigsResourceResult, DescribeConfigsResult } from '../../protocol/messages/describe-configs.ts'
import { DescribeConfigsRequest, DescribeConfigsResponse } from '../../protocol/messages/describe-configs.ts'
import type { ConfigEntry } from '../cluster/config-report.ts'
import { resourceConfigEntries } from '../cluster/config-report.ts'
import type { ShardContext } from '../shard/context.ts'
import type { Api } from './api.ts'

export const describeConfigs: Api<DescribeConfigsRequest, DescribeConfigsResponse> = {
  request: DescribeConfigsRequest,
  response: DescribeConfigsResponse,
  handle(shard, _call, request) {
    return { throttleTimeMs: 0, results: request.resources.map((resource) => describe(shard, request, resource)) }
  },
}

function describe(
  shard: ShardContext,
  request: DescribeConfigsRequest,
  resource: DescribeConfigsRequest['resources'][number],
): DescribeConfigsResult {
  const { resourceType, resourceName, configurationKeys } = resource
  const { image, config, environment } = shard
  const rootLevel = environment.logger.threshold?.level
  const entries = resourceConfigEntries(resourceType, resourceName, image, config, rootLevel)
  if ('error' in entries) {
    return { errorCode: entries.error, errorMessage: entries.message, resourceType, resourceName, configs: [] }
  }
  const wanted = configurationKeys === null || configurationKeys.length === 0 ? undefined : new Set(configurationKeys)
  const configs = entries
    .filter(({ name }) => wanted === undefined || wanted.has(name))
    .map((entry) => configResult(entry, request))
  return { errorCode: ErrorCode.NONE, errorMessage: '', resourceType, resourceName, configs }
}

function configResult(entry: ConfigEntry, request: DescribeConfigsRequest): DescribeConfigsResourceResult {
  return {
    name: entry.name,
    value: entry.value,
    readOnly: entry.readOnly,
    configSource: entry.source,
    isSensitive: entry.isSensitive,
    synonyms: request.includeSynonyms
      ? entry.links.map(({ name, text, source }) => ({ name, value: text, source }))
      : [],
    configType: entry.configType,
    documentation: request.includeDocumentation ? entry.documentation : null,
  }
}
