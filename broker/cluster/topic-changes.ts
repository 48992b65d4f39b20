// Topics that come, grow and go: CreateTopics, CreatePartitions and DeleteTopics, checked and turned into commands.
//
// Pure but for the ids of new topics; run by the controller while it holds its turn. Checks come in Kafka's order, and the topics
// of a request are independent of each other.

import { ErrorCode } from '../../protocol/errors.ts'
import type { CreatePartitionsRequest, CreatePartitionsResponse } from '../../protocol/messages/create-partitions.ts'
import type {
  CreatableTopic,
  CreatableTopicResult,
  CreateTopicsRequest,
  CreateTopicsResponse,
} from '../../protocol/messages/create-topics.ts'
import type { DeleteTopicsResponse } from '../../protocol/messages/delete-topics.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import type { BrokerConfig } from '../config.ts'
import { topicConfigProblem } from '../topic-config.ts'
import type { PlannedAssignments, Refusal } from './assignment.ts'
import { checkManualAssignments, noneAlive, replicaListProblem } from './assignment.ts'
import type { AddPartitions, Command, CreateTopic } from './commands.ts'
import { topicConfigEntries } from './config-report.ts'
import { offsetsReplicationFactor } from './internal-replicas.ts'
import type { TopicImage } from './metadata.ts'
import { Placement } from './placement.ts'
import type { Plan, PlanContext } from './plan.ts'
import { invalidRequest, RECORDS_PER_REQUEST_MAX, tooManyRecords, UNKNOWN_TOPIC } from './plan.ts'
import { targetReplicas } from './target.ts'
import { CLUSTER_METADATA_TOPIC, isInternalTopic, OFFSETS_TOPIC, topicNameProblem } from './topic-names.ts'
import { newUuid } from './uuid.ts'

/** A topic that DeleteTopics names, by name or by id. */
export interface AskedTopic {
  readonly name: string | null
  readonly topicId: string
}

export function planCreateTopics(request: CreateTopicsRequest, context: PlanContext): Plan<CreateTopicsResponse> {
  const counts = new Map<string, number>()
  for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1)
  const placement = new Placement(context.image(), context.isAlive)
  const results = new Map<string, Refusal | CreateTopic>()
  let recordsLeft = RECORDS_PER_REQUEST_MAX
  for (const topic of request.topics) {
    if (results.has(topic.name)) continue
    const duplicate = (counts.get(topic.name) ?? 0) > 1
    let planned = duplicate ? invalidRequest('Duplicate topic name.') : planTopic(topic, placement, context)
    if ('type' in planned) {
      const recordCount = 1 + planned.assignments.length + Object.keys(planned.configs).length
      if (recordCount > recordsLeft) planned = tooManyRecords()
      else recordsLeft -= recordCount
    }
    results.set(topic.name, planned)
  }
  const commands = [...results.values()].filter((planned) => 'type' in planned)
  return {
    commands: request.validateOnly ? [] : commands,
    answer: (failed) => ({
      throttleTimeMs: 0,
      topics: [...results].map(([name, planned]) => {
        if (!('type' in planned)) return refusedTopic(name, planned)
        if (failed !== undefined) return refusedTopic(name, failed)
        if (!request.validateOnly && context.image().topicById(planned.topicId) === undefined) {
          return refusedTopic(name, topicExists(name))
        }
        return createdTopic(planned, context.config)
      }),
    }),
  }
}

function planTopic(topic: CreatableTopic, placement: Placement, context: PlanContext): CreateTopic | Refusal {
  const { name } = topic
  const { config, random } = context
  const image = context.image()
  if (name === CLUSTER_METADATA_TOPIC) return invalidRequest(`Creation of internal topic ${name} is prohibited.`)
  if (image.topicByName(name) !== undefined) return topicExists(name)
  const nameProblem = topicNameProblem(name)
  if (nameProblem !== undefined) return { error: ErrorCode.INVALID_TOPIC_EXCEPTION, message: nameProblem }
  const colliding = image.collidingTopic(name)
  if (colliding !== undefined) {
    return {
      error: ErrorCode.INVALID_TOPIC_EXCEPTION,
      message: `Topic '${name}' collides with existing topic: ${colliding}`,
    }
  }
  const configs = new Map(topic.configs.map((given) => [given.name, given.value]))
  const configProblem = topicConfigProblem(configs, isInternalTopic(name), config)
  if (configProblem !== undefined) return { error: ErrorCode.INVALID_CONFIG, message: configProblem }
  const planned = planAssignments(topic, placement, context)
  if ('message' in planned) return planned
  return {
    type: 'create-topic',
    name,
    topicId: newUuid(random),
    assignments: planned.assignments,
    configs: Object.fromEntries([...configs].map(([key, value]) => [key, value ?? ''])),
    ...(isInternalTopic(name) && (topic.replicationFactor !== -1 || topic.assignments.length > 0)
      ? { isFactorChosen: true }
      : {}),
  }
}

function planAssignments(
  { name, assignments, numPartitions, replicationFactor }: CreatableTopic,
  placement: Placement,
  { image, config, isAlive }: PlanContext,
): PlannedAssignments | Refusal {
  if (assignments.length > 0) {
    const given = 'A manual partition assignment was specified, but'
    if (replicationFactor !== -1) return invalidRequest(`${given} replication factor was not set to -1.`)
    if (numPartitions !== -1) return invalidRequest(`${given} numPartitions was not set to -1.`)
    const checked = checkManualAssignments(assignments, (nodeId) => image().broker(nodeId) !== undefined, isAlive)
    if ('assignments' in checked) placement.count(checked.assignments)
    return checked
  }
  if (replicationFactor < -1 || replicationFactor === 0) {
    return {
      error: ErrorCode.INVALID_REPLICATION_FACTOR,
      message: 'Replication factor must be larger than 0, or -1 to use the default value.',
    }
  }
  if (numPartitions < -1 || numPartitions === 0) {
    return {
      error: ErrorCode.INVALID_PARTITIONS,
      message: 'Number of partitions was set to an invalid non-positive value.',
    }
  }
  const partitionCount = numPartitions === -1 ? config.numPartitions : numPartitions
  // Judged before the placement, which would make a list for each of two billion partitions.
  if (partitionCount > RECORDS_PER_REQUEST_MAX) return tooManyRecords()
  const defaultFactor =
    name === OFFSETS_TOPIC ? offsetsReplicationFactor(image(), config) : config.defaultReplicationFactor
  return placement.place(partitionCount, replicationFactor === -1 ? defaultFactor : replicationFactor)
}

function createdTopic(
  { name, topicId, assignments, configs }: CreateTopic,
  config: BrokerConfig,
): CreatableTopicResult {
  return {
    name,
    topicId,
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    topicConfigErrorCode: ErrorCode.NONE,
    numPartitions: assignments.length,
    replicationFactor: assignments[0]?.length ?? -1,
    configs: topicConfigEntries(new Map(Object.entries(configs)), config).map((entry) => ({
      name: entry.name,
      value: entry.value,
      readOnly: entry.readOnly,
      configSource: entry.source,
      isSensitive: entry.isSensitive,
    })),
  }
}

export function planDeleteTopics(asked: readonly AskedTopic[], context: PlanContext): Plan<DeleteTopicsResponse> {
  const image = context.image()
  const names = new Map<string, number>()
  const ids = new Map<string, number>()
  for (const { name, topicId } of asked) {
    if (name !== null && topicId === ZERO_UUID) names.set(name, (names.get(name) ?? 0) + 1)
    else if (name === null && topicId !== ZERO_UUID) ids.set(topicId, (ids.get(topicId) ?? 0) + 1)
  }
  type Entry = { name: string | null; topicId: string; refusal: Refusal | undefined }
  const entries: Entry[] = asked
    .filter(({ name, topicId }) => (name === null) === (topicId === ZERO_UUID))
    .map(({ name, topicId }) => ({
      name,
      topicId,
      refusal: invalidRequest(
        name === null
          ? 'Neither topic name nor id were specified.'
          : 'You may not specify both topic name and topic id.',
      ),
    }))
  const add = (topic: TopicImage) => {
    const refusal = topic.isInternal
      ? invalidRequest(`Deletion of internal topic ${topic.name} is prohibited.`)
      : undefined
    entries.push({ name: topic.name, topicId: topic.topicId, refusal })
  }
  for (const [name, count] of names) {
    const topic = image.topicByName(name)
    if (count > 1) entries.push({ name, topicId: ZERO_UUID, refusal: invalidRequest('Duplicate topic name.') })
    else if (topic === undefined) entries.push({ name, topicId: ZERO_UUID, refusal: UNKNOWN_TOPIC })
    else if (ids.delete(topic.topicId)) {
      const refusal = invalidRequest('The provided topic name maps to an ID that was already supplied.')
      entries.push({ name, topicId: topic.topicId, refusal })
    } else add(topic)
  }
  for (const [topicId, count] of ids) {
    const topic = image.topicById(topicId)
    if (count > 1) entries.push({ name: null, topicId, refusal: invalidRequest('Duplicate topic id.') })
    else if (topic === undefined) {
      const refusal = { error: ErrorCode.UNKNOWN_TOPIC_ID, message: 'This server does not host this topic ID.' }
      entries.push({ name: null, topicId, refusal })
    } else add(topic)
  }
  const commands: Command[] = entries
    .filter(({ refusal }) => refusal === undefined)
    .map(({ topicId }) => ({ type: 'delete-topic', topicId }))
  return {
    commands,
    answer: (failed) => ({
      throttleTimeMs: 0,
      responses: entries.map(({ name, topicId, refusal }) => deletedTopic(name, topicId, refusal ?? failed)),
    }),
  }
}

export function planCreatePartitions(
  request: CreatePartitionsRequest,
  context: PlanContext,
): Plan<CreatePartitionsResponse> {
  const counts = new Map<string, number>()
  for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1)
  const placement = new Placement(context.image(), context.isAlive)
  const results = new Map<string, Refusal | AddPartitions>()
  let recordsLeft = RECORDS_PER_REQUEST_MAX
  for (const asked of request.topics) {
    if (results.has(asked.name)) continue
    const duplicate = (counts.get(asked.name) ?? 0) > 1
    let planned = duplicate ? invalidRequest('Duplicate topic name.') : planNewPartitions(asked, placement, context)
    if ('type' in planned) {
      if (planned.assignments.length > recordsLeft) planned = tooManyRecords()
      else recordsLeft -= planned.assignments.length
    }
    results.set(asked.name, planned)
  }
  return {
    commands: request.validateOnly ? [] : [...results.values()].filter((planned) => 'type' in planned),
    answer: (failed) => ({
      throttleTimeMs: 0,
      results: [...results].map(([name, planned]) => {
        const refusal = 'type' in planned ? failed : planned
        return { name, errorCode: refusal?.error ?? ErrorCode.NONE, errorMessage: refusal?.message ?? null }
      }),
    }),
  }
}

function planNewPartitions(
  { name, count, assignments }: CreatePartitionsRequest['topics'][number],
  placement: Placement,
  { image, isAlive }: PlanContext,
): AddPartitions | Refusal {
  const topic = image().topicByName(name)
  if (topic === undefined) return UNKNOWN_TOPIC
  const present = topic.partitions.length
  const refuse = (message: string): Refusal => ({ error: ErrorCode.INVALID_PARTITIONS, message })
  if (count === present) return refuse(`Topic already has ${present} partition(s).`)
  if (count < present) {
    return refuse(`The topic ${name} currently has ${present} partition(s); ${count} would not be an increase.`)
  }
  const added = count - present
  if (added > RECORDS_PER_REQUEST_MAX) return tooManyRecords()
  const command = { type: 'add-partitions', topicId: topic.topicId, firstPartition: present } as const
  const [first] = topic.partitions
  const replicationFactor = first === undefined ? 1 : targetReplicas(first).length
  if (assignments === null) {
    const planned = placement.place(added, replicationFactor, topic.partitions)
    return 'message' in planned ? planned : { ...command, assignments: planned.assignments }
  }
  const misplaced = (message: string): Refusal => ({ error: ErrorCode.INVALID_REPLICA_ASSIGNMENT, message })
  if (assignments.length !== added) {
    return misplaced(
      `Attempted to add ${added} additional partition(s), but only ${assignments.length} assignment(s) were specified.`,
    )
  }
  for (const [at, { brokerIds }] of assignments.entries()) {
    const problem = replicaListProblem(brokerIds, replicationFactor, (nodeId) => image().broker(nodeId) !== undefined)
    if (problem !== undefined) return misplaced(problem)
    if (!brokerIds.some(isAlive)) return misplaced(noneAlive(present + at))
  }
  const given = assignments.map(({ brokerIds }) => [...brokerIds])
  placement.count(given)
  return { ...command, assignments: given }
}

export function refusedTopic(name: string, { error, message }: Refusal): CreatableTopicResult {
  return {
    name,
    topicId: ZERO_UUID,
    errorCode: error,
    errorMessage: message,
    topicConfigErrorCode: ErrorCode.NONE,
    numPartitions: -1,
    replicationFactor: -1,
    configs: [],
  }
}

export function deletedTopic(name: string | null, topicId: string, refusal: Refusal | undefined) {
  return { name, topicId, errorCode: refusal?.error ?? ErrorCode.NONE, errorMessage: refusal?.message ?? null }
}

function topicExists(name: string): Refusal {
  return { error: ErrorCode.TOPIC_ALREADY_EXISTS, message: `Topic '${name}' already exists.` }
}
