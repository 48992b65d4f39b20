// The controller: takes the changes of the cluster one after another, checks them against the image, and writes what is
// allowed to the metadata log.
//
// One per broker, on shard 0's thread. A change holds its turn from the check to the moment it is applied on every shard,
// so two requests never get the same topic name, and an answer is true on every shard when it leaves.

import { ErrorCode } from '../../protocol/errors.ts'
import { InvariantViolation } from '../../protocol/invariant.ts'
import type { AlterConfigsRequest, AlterConfigsResponse } from '../../protocol/messages/alter-configs.ts'
import type {
  AlterPartitionReassignmentsRequest,
  AlterPartitionReassignmentsResponse,
} from '../../protocol/messages/alter-partition-reassignments.ts'
import type { CreatePartitionsRequest, CreatePartitionsResponse } from '../../protocol/messages/create-partitions.ts'
import type { CreateTopicsRequest, CreateTopicsResponse } from '../../protocol/messages/create-topics.ts'
import type { DeleteTopicsRequest, DeleteTopicsResponse } from '../../protocol/messages/delete-topics.ts'
import type { IncrementalAlterConfigsRequest } from '../../protocol/messages/incremental-alter-configs.ts'
import type { UnregisterBrokerResponse } from '../../protocol/messages/unregister-broker.ts'
import { ZERO_UUID } from '../../protocol/schema.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import type { Refusal } from './assignment.ts'
import type { Command, Endpoint, MetadataLog, PeerAddress, RegisterBroker } from './commands.ts'
import { NotController } from './commands.ts'
import type { ResourceChange } from './config-changes.ts'
import { incrementalChanges, planConfigChanges, replacingChanges } from './config-changes.ts'
import { planRaise } from './internal-replicas.ts'
import type { BrokerRegistration, MetadataImage } from './metadata.ts'
import type { Plan, PlanContext } from './plan.ts'
import { invalidRequest } from './plan.ts'
import type { DrainPlan, PlannedReassignment } from './reassignment.ts'
import { planCancellation, planDrain, planReassignment } from './reassignment.ts'
import { isReassigning, targetReplicas } from './target.ts'
import type { AskedTopic } from './topic-changes.ts'
import {
  deletedTopic,
  planCreatePartitions,
  planCreateTopics,
  planDeleteTopics,
  refusedTopic,
} from './topic-changes.ts'
import { newUuid } from './uuid.ts'

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
  /** Whether a broker has shown a sign of life lately. By default all have. */
  readonly isAlive?: (nodeId: number) => boolean
  /** Where a broker that this one is linked with says that other brokers reach it; for this broker its own address. */
  readonly linkedAddress?: (nodeId: number) => PeerAddress | undefined
  /** Whether this broker leads the metadata group and has applied all that was committed before. By default it does. */
  readonly isActive?: () => boolean
}

/** A broker that wants to take part, as it is now. */
export interface Registration {
  readonly nodeId: number
  readonly host: string
  readonly port: number
  readonly rack: string | null
  readonly endpoints?: readonly Endpoint[]
  readonly directoryId?: string
  readonly peer?: PeerAddress | null
  readonly shardCount?: number
  /** What its data directory says it was given before; undefined for a new one. */
  readonly directoryEpoch?: number
}

export interface Registered {
  readonly error: typeof ErrorCode.NONE
  readonly directoryEpoch: number
}

/** Replicas that the broker's own topics are about to get. */
export interface Raised {
  readonly topic: string
  readonly replicationFactor: number
  /** Partitions that this step has begun with, or aimed elsewhere. */
  readonly begun: number
  /** Partitions that have fewer replicas, those on their way included. */
  readonly left: number
}

export interface ProducerIdBlock {
  readonly firstProducerId: number
  readonly count: number
}

type Late = { readonly late: true }

const TIMED_OUT: Refusal = { error: ErrorCode.REQUEST_TIMED_OUT, message: 'The request timed out.' }
const NOT_CONTROLLER: Refusal = {
  error: ErrorCode.NOT_CONTROLLER,
  message: 'This is not the correct controller for this cluster.',
}
export class Controller {
  readonly #environment: ControllerOptions['environment']
  readonly #config: BrokerConfig
  readonly #image: () => MetadataImage
  readonly #log: MetadataLog
  readonly #isAlive: (nodeId: number) => boolean
  readonly #linkedAddress: (nodeId: number) => PeerAddress | undefined
  readonly #context: PlanContext
  readonly #isActive: () => boolean
  #turn: Promise<void> = Promise.resolve()
  #waiting = 0

  constructor({ environment, config, image, log, isAlive, linkedAddress, isActive }: ControllerOptions) {
    this.#environment = environment
    this.#config = config
    this.#image = image
    this.#log = log
    this.#isAlive = isAlive ?? (() => true)
    this.#linkedAddress = linkedAddress ?? (() => undefined)
    this.#isActive = isActive ?? (() => true)
    this.#context = { image, config, random: environment.random, isAlive: this.#isAlive }
  }

  /**
   * Gives the cluster its id when it has none, and writes this broker's registration when it changed.
   * @param advertised address told to clients; endpoints where listeners have addresses of their own
   * @throws Error when the metadata log cannot be written
   */
  async register(
    advertised: Omit<Registration, 'nodeId' | 'rack'>,
    newClusterId = newUuid(this.#environment.random),
  ): Promise<void> {
    const { nodeId, brokerRack: rack } = this.#config
    const registered = await this.registerBroker({ ...advertised, nodeId, rack }, newClusterId)
    if (registered.error !== ErrorCode.NONE) throw new Error(`cannot register this broker: ${registered.message}`)
  }

  /**
   * Writes the registration of a broker, when it is not already so.
   * @param newClusterId given to a cluster that has none yet
   * @returns which of the id's directories this is, or why it may not take part: DUPLICATE_BROKER_REGISTRATION when another
   *   broker with its id is alive, INVALID_REGISTRATION when its directory was replaced by another one
   */
  registerBroker(registration: Registration, newClusterId?: string): Promise<Registered | Refusal> {
    const { nodeId, host, port, rack } = registration
    const { endpoints = [], directoryId = '', peer = null, shardCount = 1 } = registration
    const wanted: RegisterBroker = {
      type: 'register-broker',
      ...{ nodeId, host, port, rack, endpoints, directoryId, peer, shardCount },
    }
    const plan = (): Plan<Registered | Refusal> => {
      const image = this.#image()
      const refusal = this.#registrationProblem(registration)
      if (refusal !== undefined) return { commands: [], answer: () => refusal }
      const commands: Command[] = []
      if (image.clusterId === '' && newClusterId !== undefined) {
        commands.push({ type: 'set-cluster-id', clusterId: newClusterId })
      }
      if (!isRegisteredAs(image.broker(nodeId), wanted)) commands.push(wanted)
      return {
        commands,
        answer: (failed) => failed ?? { error: ErrorCode.NONE, directoryEpoch: this.#image().directoryEpoch(nodeId) },
      }
    }
    return this.#change<Registered | Refusal>(Number.POSITIVE_INFINITY, plan, (refused) => refused)
  }

  #registrationProblem(registration: Registration): Refusal | undefined {
    const { nodeId, directoryId = '', directoryEpoch } = registration
    const image = this.#image()
    const known = image.directoryId(nodeId)
    if (known === '') return undefined
    if (directoryId === known) return this.#isElsewhere(registration) ? idIsTaken(nodeId) : undefined
    // First, because what is alive may be the one with the old directory itself.
    if (directoryEpoch !== undefined && directoryEpoch < image.directoryEpoch(nodeId)) {
      return {
        error: ErrorCode.INVALID_REGISTRATION,
        message: `The data directory of broker ${nodeId} was replaced by another one since, and may not come back.`,
      }
    }
    if (image.broker(nodeId) !== undefined && nodeId !== this.#config.nodeId && this.#isAlive(nodeId)) {
      return idIsTaken(nodeId)
    }
    return undefined
  }

  /**
   * Whether that broker lives at another address than the one registered now: then a copy of its directory was started, which must not draw
   * its clients to itself. A broker that itself comes back elsewhere is linked from there soon, or its old self is dead.
   */
  #isElsewhere({ nodeId, peer }: Registration): boolean {
    const present = this.#linkedAddress(nodeId) ?? this.#image().broker(nodeId)?.peer
    if (present == null || peer == null || !this.#isAlive(nodeId)) return false
    return present.host !== peer.host || present.port !== peer.port
  }

  /** CreateTopics. Checks in Kafka's order; topics are independent of each other. */
  createTopics(request: CreateTopicsRequest): Promise<CreateTopicsResponse> {
    const refuseAll = (refusal: Refusal): CreateTopicsResponse => ({
      throttleTimeMs: 0,
      topics: [...new Set(request.topics.map(({ name }) => name))].map((name) => refusedTopic(name, refusal)),
    })
    return this.#change(request.timeoutMs, () => planCreateTopics(request, this.#context), refuseAll)
  }

  /** DeleteTopics, by name or id. @param version tells how a broker that deletes no topics says so */
  deleteTopics(request: DeleteTopicsRequest, version: number): Promise<DeleteTopicsResponse> {
    const asked: AskedTopic[] = [...request.topics, ...request.topicNames.map((name) => ({ name, topicId: ZERO_UUID }))]
    const refuseAll = (refusal: Refusal): DeleteTopicsResponse => ({
      throttleTimeMs: 0,
      responses: asked.map(({ name, topicId }) => deletedTopic(name, topicId, refusal)),
    })
    if (!this.#config.deleteTopicEnable) {
      const error = version < 3 ? ErrorCode.INVALID_REQUEST : ErrorCode.TOPIC_DELETION_DISABLED
      return Promise.resolve(refuseAll({ error, message: 'Topic deletion is disabled.' }))
    }
    return this.#change(request.timeoutMs, () => planDeleteTopics(asked, this.#context), refuseAll)
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
    return this.#change(request.timeoutMs, () => planCreatePartitions(request, this.#context), refuseAll)
  }

  /** AlterConfigs: the configs given replace all overrides of a resource. */
  alterConfigs(request: AlterConfigsRequest): Promise<AlterConfigsResponse> {
    return this.#alter(replacingChanges(request), request.validateOnly)
  }

  incrementalAlterConfigs(request: IncrementalAlterConfigsRequest): Promise<AlterConfigsResponse> {
    return this.#alter(incrementalChanges(request), request.validateOnly)
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

  /** AlterPartitionReassignments: partitions are independent of each other; no replicas: the running move is taken back. */
  alterPartitionReassignments(
    request: AlterPartitionReassignmentsRequest,
  ): Promise<AlterPartitionReassignmentsResponse> {
    const { topics, allowReplicationFactorChange } = request
    const answer = (refusalOf: (slot: number) => Refusal | undefined) => {
      let slot = 0
      return {
        throttleTimeMs: 0,
        // Who asks for nothing gets the defaults of the protocol, as in Kafka.
        allowReplicationFactorChange: allowReplicationFactorChange || topics.length === 0,
        errorCode: ErrorCode.NONE,
        errorMessage: topics.length === 0 ? '' : null,
        responses: topics.map(({ name, partitions }) => ({
          name,
          partitions: partitions.map(({ partitionIndex }) => {
            const { error, message } = refusalOf(slot++) ?? { error: ErrorCode.NONE, message: null }
            return { partitionIndex, errorCode: error, errorMessage: message }
          }),
        })),
      }
    }
    const plan = (): Plan<AlterPartitionReassignmentsResponse> => {
      const planned = topics.flatMap(({ name, partitions }) =>
        partitions.map(({ partitionIndex, replicas }) => this.#planMove(request, name, partitionIndex, replicas)),
      )
      // All were planned from what is now: of several for one partition the last one is the request's will.
      const commands = new Map<number, Command>()
      for (const one of planned) if ('command' in one && one.command) commands.set(one.command.groupId, one.command)
      return {
        commands: [...commands.values()],
        answer: (failed) =>
          answer((slot) => {
            const one = planned[slot]
            return one !== undefined && 'message' in one ? one : failed
          }),
      }
    }
    const refuseAll = (refusal: Refusal) => ({
      ...answer(() => refusal),
      errorCode: refusal.error,
      errorMessage: refusal.message,
    })
    return this.#change<AlterPartitionReassignmentsResponse>(request.timeoutMs, plan, refuseAll)
  }

  /** The leader of a group says that its members are those of the target now. */
  completeReassignment(groupId: number, targetReplicas: readonly number[]): Promise<Refusal> {
    const done = { error: ErrorCode.NONE, message: null }
    const plan = (): Plan<Refusal> => {
      const partition = this.#image().partitionByGroup(groupId)?.partition
      const isRunning = partition !== undefined && isReassigning(partition)
      return {
        commands: isRunning ? [{ type: 'complete-reassignment', groupId, targetReplicas }] : [],
        answer: (failed) => failed ?? done,
      }
    }
    return this.#change(this.#config.requestTimeoutMs, plan, (refusal) => refusal)
  }

  /**
   * Begins the next moves that empty the draining brokers. Called again and again while this broker leads the metadata group;
   * without a draining broker it costs nothing.
   */
  drainStep(movingMax = this.#config.millraceDrainPartitionsMax): Promise<DrainPlan | Refusal> {
    const plan = (): Plan<DrainPlan | Refusal> => {
      const planned = planDrain(this.#image(), this.#isAlive, { movingMax })
      return { commands: planned.commands, answer: (failed) => failed ?? planned }
    }
    return this.#change<DrainPlan | Refusal>(this.#config.requestTimeoutMs, plan, (refusal) => refusal)
  }

  /**
   * Begins to give the broker's own topics the replicas that they lack for want of brokers when they were made. Called again and again
   * while this broker leads the metadata group; without anything to do it costs a look at those topics.
   * @returns what was begun; undefined for nothing
   */
  raiseStep(movingMax = this.#config.millraceDrainPartitionsMax): Promise<Raised | undefined> {
    const plan = (): Plan<Raised | undefined> => {
      const planned = planRaise(this.#image(), this.#config, this.#isAlive, { movingMax })
      if (planned === undefined) return { commands: [], answer: () => undefined }
      const { commands, ...raised } = planned
      return {
        commands,
        answer: (failed) => (failed === undefined ? { ...raised, begun: commands.length } : undefined),
      }
    }
    return this.#change<Raised | undefined>(this.#config.requestTimeoutMs, plan, () => undefined)
  }

  /** How far the metadata are: everything that was answered to anybody before this call is in them by then. */
  async metadataIndex(): Promise<{ readonly error: ErrorCode; readonly metadataIndex?: number }> {
    if (!(await this.#log.confirm())) return { error: ErrorCode.NOT_CONTROLLER }
    return { error: ErrorCode.NONE, metadataIndex: this.#image().appliedIndex }
  }

  /**
   * UnregisterBroker: the broker left for good. Kafka forgets it whatever it holds; here it must be empty and stopped, because a
   * replica list may not name somebody nobody knows, and a running broker would register again.
   */
  unregisterBroker(nodeId: number): Promise<UnregisterBrokerResponse> {
    const answer = ({ error, message }: Refusal) => ({ throttleTimeMs: 0, errorCode: error, errorMessage: message })
    const plan = (): Plan<UnregisterBrokerResponse> => {
      const refusal = this.#unregisterProblem(nodeId)
      return {
        commands: refusal === undefined ? [{ type: 'unregister-broker', nodeId }] : [],
        answer: (failed) => answer(refusal ?? failed ?? { error: ErrorCode.NONE, message: '' }),
      }
    }
    return this.#change(this.#config.requestTimeoutMs, plan, answer)
  }

  #unregisterProblem(nodeId: number): Refusal | undefined {
    const image = this.#image()
    if (image.broker(nodeId) === undefined) {
      return {
        error: ErrorCode.BROKER_ID_NOT_REGISTERED,
        message: `Broker ID ${nodeId} is not currently registered`,
      }
    }
    let held = 0
    for (const { partitions } of image.topics()) {
      for (const { replicas } of partitions) if (replicas.includes(nodeId)) held++
    }
    if (held > 0) {
      return invalidRequest(`Broker ${nodeId} holds ${held} partition(s): drain it or reassign them first.`)
    }
    if (this.#isAlive(nodeId)) return invalidRequest(`Broker ${nodeId} is running: stop it first.`)
    return undefined
  }

  #planMove(
    { allowReplicationFactorChange }: AlterPartitionReassignmentsRequest,
    name: string,
    partitionIndex: number,
    replicas: readonly number[] | null,
  ): PlannedReassignment | Refusal {
    const image = this.#image()
    const topic = image.topicByName(name)
    const partition = topic?.partitions[partitionIndex]
    if (partition === undefined) {
      const message =
        topic === undefined
          ? `Unable to find a topic named ${name}.`
          : `Unable to find partition ${name}:${partitionIndex}.`
      return { error: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message }
    }
    const planned =
      replicas === null
        ? planCancellation(name, partition, this.#isAlive)
        : planReassignment(image, partition, replicas, allowReplicationFactorChange)
    if (topic?.isInternal !== true || !('command' in planned) || planned.command === undefined) return planned
    const isFactorChosen = targetReplicas(planned.command).length !== targetReplicas(partition).length
    return isFactorChosen ? { ...planned, command: { ...planned.command, isFactorChosen } } : planned
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
    const work = this.#inTurn(plan, refuseAll)
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

  #inTurn<T>(plan: () => Plan<T>, refuseAll: (refusal: Refusal) => T): Promise<T> {
    this.#waiting++
    const work = this.#turn.then(async () => {
      if (!this.#isActive()) return refuseAll(NOT_CONTROLLER)
      const { commands, answer } = plan()
      if (commands.length === 0) return answer(undefined)
      try {
        await this.#log.append(commands)
      } catch (error) {
        if (error instanceof InvariantViolation) throw error
        if (error instanceof NotController) return answer(NOT_CONTROLLER)
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

function idIsTaken(nodeId: number): Refusal {
  return {
    error: ErrorCode.DUPLICATE_BROKER_REGISTRATION,
    message: `Another broker with id ${nodeId} is running in this cluster.`,
  }
}

function isRegisteredAs(present: BrokerRegistration | undefined, { type: _, ...wanted }: RegisterBroker): boolean {
  if (present === undefined) return false
  const { nodeId, host, port, rack, endpoints, directoryId, peer, shardCount } = present
  const registered = { nodeId, host, port, rack, endpoints, directoryId, peer, shardCount }
  return JSON.stringify(registered) === JSON.stringify(wanted)
}
