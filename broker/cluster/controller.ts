// The controller: takes the changes of the cluster one after another, checks them against the image, and writes what is
// allowed to the metadata log.
//
// One per broker, on shard 0's thread. A change holds its turn from the check to the moment it is applied on every shard,
// so two requests never get the same topic name, and an answer is true on every shard when it leaves.

import { ErrorCode } from '../../protocol/errors.ts'
import { InvariantViolation } from '../../protocol/invariant.ts'
import type { AlterConfigsRequest, AlterConfigsResponse } from '../../protocol/messages/alter-configs.ts'
import type { CreatePartitionsRequest, CreatePartitionsResponse } from '../../protocol/messages/create-partitions.ts'
import type {
  CreatableTopic,
  CreatableTopicResult,
  CreateTopicsRequest,
  CreateTopicsResponse,
} from '../../protocol/messages/create-topics.ts'
import type { DeleteTopicsRequest, DeleteTopicsResponse } from '../../protocol/messages/delete-topics.ts'
import type { IncrementalAlterConfigsRequest } from '../../protocol/messages/incremental-alter-configs.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import { topicConfigProblem } from '../topic-config.ts'
import type { Refusal } from './assignment.ts'
import { checkManualAssignments, placeReplicas, replicaListProblem } from './assignment.ts'
import type { Command, CreateTopic, Endpoint, MetadataLog } from './commands.ts'
import type { ResourceChange } from './config-changes.ts'
import { planConfigChanges } from './config-changes.ts'
import { topicConfigEntries } from './config-report.ts'
import type { MetadataImage, TopicImage } from './metadata.ts'
import { CLUSTER_METADATA_TOPIC, isInternalTopic, topicNameProblem } from './topic-names.ts'
import { newUuid } from './uuid.ts'

/** Kafka writes at most this many metadata records for one request. */
const RECORDS_PER_REQUEST_MAX = 10_000
/** Producer ids given out at once to one asker. */
export const PRODUCER_ID_BLOCK = 1000
/** Changes that may wait for their turn; more are refused at once. */
const WAITING_MAX = 1000

export interface ControllerOptions {
  readonly environment: Pick<Environment, 'clock' | 'random' | 'logger'>
  readonly config: BrokerConfig
  /** The image of shard 0 as it is now: a snapshot may put another object in its place. */
  readonly image: () => MetadataImage
  readonly log: MetadataLog
}

export interface ProducerIdBlock {
  readonly firstProducerId: number
  readonly count: number
}

/** What a change would write, and how its request is answered: as planned, or with a refusal of everything planned. */
interface Plan<T> {
  readonly commands: readonly Command[]
  answer(failed: Refusal | undefined): T
}

type Late = { readonly late: true }

const TIMED_OUT: Refusal = { error: ErrorCode.REQUEST_TIMED_OUT, message: 'The request timed out.' }
const UNKNOWN_TOPIC: Refusal = {
  error: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
  message: 'This server does not host this topic-partition.',
}

export class Controller {
  readonly #environment: ControllerOptions['environment']
  readonly #config: BrokerConfig
  readonly #image: () => MetadataImage
  readonly #log: MetadataLog
  #turn: Promise<void> = Promise.resolve()
  #waiting = 0

  constructor({ environment, config, image, log }: ControllerOptions) {
    this.#environment = environment
    this.#config = config
    this.#image = image
    this.#log = log
  }

  /**
   * Gives the cluster its id when it has none, and writes this broker's registration when it changed.
   * @param advertised address told to clients; endpoints where listeners have addresses of their own
   * @throws Error when the metadata log cannot be written
   */
  async register(
    advertised: { readonly host: string; readonly port: number; readonly endpoints?: readonly Endpoint[] },
    newClusterId = newUuid(this.#environment.random),
  ): Promise<void> {
    const { nodeId, brokerRack } = this.#config
    const { host, port, endpoints = [] } = advertised
    const wanted = { nodeId, host, port, rack: brokerRack, endpoints }
    const plan = (): Plan<Refusal | undefined> => {
      const image = this.#image()
      const commands: Command[] = []
      if (image.clusterId === '') commands.push({ type: 'set-cluster-id', clusterId: newClusterId })
      if (JSON.stringify(image.broker(nodeId)) !== JSON.stringify(wanted)) {
        commands.push({ type: 'register-broker', ...wanted })
      }
      return { commands, answer: (failed) => failed }
    }
    const refusal = await this.#change<Refusal | undefined>(Number.POSITIVE_INFINITY, plan, (refused) => refused)
    if (refusal !== undefined) throw new Error(`cannot register this broker: ${refusal.message}`)
  }

  /** CreateTopics. Checks in Kafka's order; topics are independent of each other. */
  createTopics(request: CreateTopicsRequest): Promise<CreateTopicsResponse> {
    const refuseAll = (refusal: Refusal): CreateTopicsResponse => ({
      throttleTimeMs: 0,
      topics: [...new Set(request.topics.map(({ name }) => name))].map((name) => refusedTopic(name, refusal)),
    })
    return this.#change(request.timeoutMs, () => this.#planCreateTopics(request), refuseAll)
  }

  /** DeleteTopics, by name or id. @param version tells how a broker that deletes no topics says so */
  deleteTopics(request: DeleteTopicsRequest, version: number): Promise<DeleteTopicsResponse> {
    const asked = [...request.topics, ...request.topicNames.map((name) => ({ name, topicId: ZERO_UUID }))]
    const refuseAll = (refusal: Refusal): DeleteTopicsResponse => ({
      throttleTimeMs: 0,
      responses: asked.map(({ name, topicId }) => deleted(name, topicId, refusal)),
    })
    if (!this.#config.deleteTopicEnable) {
      const error = version < 3 ? ErrorCode.INVALID_REQUEST : ErrorCode.TOPIC_DELETION_DISABLED
      return Promise.resolve(refuseAll({ error, message: 'Topic deletion is disabled.' }))
    }
    return this.#change(request.timeoutMs, () => this.#planDeleteTopics(asked), refuseAll)
  }

  createPartitions(request: CreatePartitionsRequest): Promise<CreatePartitionsResponse> {
    const refuseAll = (refusal: Refusal): CreatePartitionsResponse => ({
      throttleTimeMs: 0,
      results: [...new Set(request.topics.map(({ name }) => name))].map((name) => ({
        name,
        errorCode: refusal.error,
        errorMessage: refusal.message,
      })),
    })
    return this.#change(request.timeoutMs, () => this.#planCreatePartitions(request), refuseAll)
  }

  /** AlterConfigs: the configs given replace all overrides of a resource. */
  alterConfigs(request: AlterConfigsRequest): Promise<AlterConfigsResponse> {
    const changes = request.resources.map(({ resourceType, resourceName, configs }) => {
      return { resourceType, resourceName, operations: undefined, configs }
    })
    return this.#alter(changes, request.validateOnly)
  }

  incrementalAlterConfigs(request: IncrementalAlterConfigsRequest): Promise<AlterConfigsResponse> {
    const changes = request.resources.map(({ resourceType, resourceName, configs }) => {
      return { resourceType, resourceName, operations: configs, configs: [] }
    })
    return this.#alter(changes, request.validateOnly)
  }

  /** A block of producer ids that nobody had before and nobody gets again. */
  allocateProducerIds(): Promise<ProducerIdBlock | Refusal> {
    const token = newUuid(this.#environment.random)
    const plan = (): Plan<ProducerIdBlock | Refusal> => ({
      commands: [{ type: 'allocate-producer-ids', token, count: PRODUCER_ID_BLOCK }],
      answer: (failed) => {
        if (failed !== undefined) return failed
        const image = this.#image()
        // Another controller's block came in between: the asker tries again.
        if (image.producerIdToken !== token) return { error: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, message: null }
        return { firstProducerId: image.nextProducerId - PRODUCER_ID_BLOCK, count: PRODUCER_ID_BLOCK }
      },
    })
    return this.#change<ProducerIdBlock | Refusal>(this.#config.requestTimeoutMs, plan, (refused) => refused)
  }

  #alter(changes: readonly ResourceChange[], validateOnly: boolean): Promise<AlterConfigsResponse> {
    const answer = (errors: readonly Refusal[]): AlterConfigsResponse => ({
      throttleTimeMs: 0,
      responses: changes.map(({ resourceType, resourceName }, at) => ({
        errorCode: errors[at]?.error ?? ErrorCode.NONE,
        errorMessage: errors[at]?.message ?? null,
        resourceType,
        resourceName,
      })),
    })
    return this.#change<AlterConfigsResponse>(
      this.#config.requestTimeoutMs,
      () => {
        const planned = planConfigChanges(changes, this.#image(), this.#config)
        const commands = planned.flatMap((plan) =>
          'command' in plan && plan.command !== undefined ? [plan.command] : [],
        )
        return {
          commands: validateOnly ? [] : commands,
          answer: (failed) =>
            answer(
              planned.map((plan) => ('message' in plan ? plan : (failed ?? { error: ErrorCode.NONE, message: null }))),
            ),
        }
      },
      (refusal) => answer(changes.map(() => refusal)),
    )
  }

  #planCreateTopics(request: CreateTopicsRequest): Plan<CreateTopicsResponse> {
    const counts = new Map<string, number>()
    for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1)
    const results = new Map<string, Refusal | CreateTopic>()
    let recordsLeft = RECORDS_PER_REQUEST_MAX
    for (const topic of request.topics) {
      if (results.has(topic.name)) continue
      const duplicate = (counts.get(topic.name) ?? 0) > 1
      let planned = duplicate ? invalidRequest('Duplicate topic name.') : this.#planTopic(topic)
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
          if (!request.validateOnly && this.#image().topicById(planned.topicId) === undefined) {
            return refusedTopic(name, topicExists(name))
          }
          return this.#createdTopic(planned)
        }),
      }),
    }
  }

  #planTopic(topic: CreatableTopic): CreateTopic | Refusal {
    const { name } = topic
    const image = this.#image()
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
    const configs = new Map(topic.configs.map((config) => [config.name, config.value]))
    const configProblem = topicConfigProblem(configs, isInternalTopic(name), this.#config)
    if (configProblem !== undefined) return { error: ErrorCode.INVALID_CONFIG, message: configProblem }
    const planned = this.#planAssignments(topic)
    if ('message' in planned) return planned
    return {
      type: 'create-topic',
      name,
      topicId: newUuid(this.#environment.random),
      assignments: planned.assignments,
      configs: Object.fromEntries([...configs].map(([key, value]) => [key, value ?? ''])),
    }
  }

  #planAssignments({ assignments, numPartitions, replicationFactor }: CreatableTopic) {
    if (assignments.length > 0) {
      const given = 'A manual partition assignment was specified, but'
      if (replicationFactor !== -1) return invalidRequest(`${given} replication factor was not set to -1.`)
      if (numPartitions !== -1) return invalidRequest(`${given} numPartitions was not set to -1.`)
      return checkManualAssignments(assignments, (nodeId) => this.#image().broker(nodeId) !== undefined)
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
    const partitionCount = numPartitions === -1 ? this.#config.numPartitions : numPartitions
    // Judged before the placement, which would make a list for each of two billion partitions.
    if (partitionCount > RECORDS_PER_REQUEST_MAX) return tooManyRecords()
    return this.#place(
      partitionCount,
      replicationFactor === -1 ? this.#config.defaultReplicationFactor : replicationFactor,
    )
  }

  #place(partitionCount: number, replicationFactor: number) {
    const image = this.#image()
    const brokers = image.brokers.map(({ nodeId }) => nodeId)
    return placeReplicas(partitionCount, replicationFactor, brokers, image.nextGroupId)
  }

  #createdTopic({ name, topicId, assignments, configs }: CreateTopic): CreatableTopicResult {
    return {
      name,
      topicId,
      errorCode: ErrorCode.NONE,
      errorMessage: null,
      topicConfigErrorCode: ErrorCode.NONE,
      numPartitions: assignments.length,
      replicationFactor: assignments[0]?.length ?? -1,
      configs: topicConfigEntries(new Map(Object.entries(configs)), this.#config).map((entry) => ({
        name: entry.name,
        value: entry.value,
        readOnly: entry.readOnly,
        configSource: entry.source,
        isSensitive: entry.isSensitive,
      })),
    }
  }

  #planDeleteTopics(asked: readonly { name: string | null; topicId: string }[]): Plan<DeleteTopicsResponse> {
    const image = this.#image()
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
        responses: entries.map(({ name, topicId, refusal }) => deleted(name, topicId, refusal ?? failed)),
      }),
    }
  }

  #planCreatePartitions(request: CreatePartitionsRequest): Plan<CreatePartitionsResponse> {
    const counts = new Map<string, number>()
    for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1)
    const results = new Map<string, Refusal | (Command & { readonly type: 'add-partitions' })>()
    let recordsLeft = RECORDS_PER_REQUEST_MAX
    for (const asked of request.topics) {
      if (results.has(asked.name)) continue
      const duplicate = (counts.get(asked.name) ?? 0) > 1
      let planned = duplicate ? invalidRequest('Duplicate topic name.') : this.#planNewPartitions(asked)
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

  #planNewPartitions({ name, count, assignments }: CreatePartitionsRequest['topics'][number]) {
    const topic = this.#image().topicByName(name)
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
    const replicationFactor = topic.partitions[0]?.replicas.length ?? 1
    if (assignments === null) {
      const planned = this.#place(added, replicationFactor)
      return 'message' in planned ? planned : { ...command, assignments: planned.assignments }
    }
    const misplaced = (message: string): Refusal => ({ error: ErrorCode.INVALID_REPLICA_ASSIGNMENT, message })
    if (assignments.length !== added) {
      return misplaced(
        `Attempted to add ${added} additional partition(s), but only ${assignments.length} assignment(s) were specified.`,
      )
    }
    for (const { brokerIds } of assignments) {
      const problem = replicaListProblem(
        brokerIds,
        replicationFactor,
        (nodeId) => this.#image().broker(nodeId) !== undefined,
      )
      if (problem !== undefined) return misplaced(problem)
    }
    return { ...command, assignments: assignments.map(({ brokerIds }) => [...brokerIds]) }
  }

  /**
   * Runs one change in its turn.
   * @param timeoutMs after which the request is answered with REQUEST_TIMED_OUT; the change itself goes on
   * @param plan made when the turn comes, against the image of that moment
   * @param refuseAll the answer when nothing of the plan is known
   */
  async #change<T>(timeoutMs: number, plan: () => Plan<T>, refuseAll: (refusal: Refusal) => T): Promise<T> {
    if (this.#waiting >= WAITING_MAX) {
      return refuseAll({ error: ErrorCode.REQUEST_TIMED_OUT, message: 'Too many changes of the cluster are waiting.' })
    }
    const work = this.#inTurn(plan)
    if (timeoutMs <= 0) return refuseAll(TIMED_OUT)
    if (timeoutMs === Number.POSITIVE_INFINITY) return work
    let tooLate: (late: Late) => void = () => {}
    const late = new Promise<Late>((resolve) => {
      tooLate = resolve
    })
    const timer = this.#environment.clock.after(timeoutMs, () => tooLate({ late: true }))
    try {
      const first = await Promise.race([work.then((value) => ({ value })), late])
      return 'late' in first ? refuseAll(TIMED_OUT) : first.value
    } finally {
      timer.cancel()
    }
  }

  #inTurn<T>(plan: () => Plan<T>): Promise<T> {
    this.#waiting++
    const work = this.#turn.then(async () => {
      const { commands, answer } = plan()
      if (commands.length === 0) return answer(undefined)
      try {
        await this.#log.append(commands)
      } catch (error) {
        if (error instanceof InvariantViolation) throw error
        this.#environment.logger.error('the metadata log refused a change', { error: String(error) })
        return answer({ error: ErrorCode.KAFKA_STORAGE_ERROR, message: 'The metadata log could not be written.' })
      }
      return answer(undefined)
    })
    // A broken rule of our own is not swallowed here: nobody handles this promise, and the process stops.
    this.#turn = work.then(
      () => {
        this.#waiting--
      },
      (error: unknown) => {
        this.#waiting--
        throw error
      },
    )
    return work
  }
}

function refusedTopic(name: string, { error, message }: Refusal): CreatableTopicResult {
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

function deleted(name: string | null, topicId: string, refusal: Refusal | undefined) {
  return { name, topicId, errorCode: refusal?.error ?? ErrorCode.NONE, errorMessage: refusal?.message ?? null }
}

function topicExists(name: string): Refusal {
  return { error: ErrorCode.TOPIC_ALREADY_EXISTS, message: `Topic '${name}' already exists.` }
}

function invalidRequest(message: string): Refusal {
  return { error: ErrorCode.INVALID_REQUEST, message }
}

function tooManyRecords(): Refusal {
  return { error: ErrorCode.POLICY_VIOLATION, message: 'Excessively large number of partitions per request.' }
}
