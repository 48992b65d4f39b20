// This broker as a member of its cluster: which one that is, how it gets in, and that the metadata knows it as it is now.
//
// On shard 0, from the opening of its storage to the end. A broker alone takes the same way with nobody to ask. Identity (cluster id and
// directory epoch) is in the data directory's record before anything is done under it.

import { ErrorCode } from '../../protocol/errors.ts'
import type { BrokerConfig } from '../config.ts'
import type { Environment } from '../environment.ts'
import { OperatorError } from '../operator-error.ts'
import { type LinkInfo, ProbeError, type ShardLinks } from '../replication/link-types.ts'
import { MalformedPeerBytes, type PeerReader } from '../replication/peer-wire.ts'
import type { ClusterAsk, RegisterAnswer } from './cluster-call.ts'
import type { PeerAddress } from './commands.ts'
import type { Registration } from './controller.ts'
import { isEmptyImage, meetingOf } from './empty-cluster.ts'
import type { MetadataImage } from './metadata.ts'
import {
  addressText,
  Forming,
  idInUse,
  parseAddress,
  type SeedAnswer,
  type SeedStatus,
  stopped,
} from './node-forming.ts'
import { LEFT_BEHIND, type NodeIdentity } from './node-identity.ts'
import { parseJson, registerAnswerOf, registrationOf, seedStatusOf } from './peer-json.ts'
import { newUuid } from './uuid.ts'

/** Probes of a broker met for the first time; kinds below belong to links. */
export const ProbeKind = {
  /** What cluster do you belong to? */
  STATUS: 20,
  /** I want to belong to your cluster. */
  JOIN: 21,
} as const

export interface NodeOptions {
  readonly config: BrokerConfig
  readonly environment: Environment
  /** Undefined for a broker alone. */
  readonly links: ShardLinks | undefined
  readonly registration: Registration
  /** From the data directory's record. */
  readonly identity: NodeIdentity | undefined
  image(): MetadataImage
  /** Writes the record; resolves when it is on disk. */
  saveIdentity(identity: NodeIdentity): Promise<void>
  askCluster(ask: ClusterAsk): Promise<RegisterAnswer>
  /** The metadata up to that index is applied on every shard here. */
  whenApplied(index: number): Promise<void>
  onFatal(error: OperatorError): void
}

/** After so long without a quorum the broker says so and is ready all the same. */
const QUORUM_WAIT_MS = 5000
/** A broker that was just replaced may be taken for alive for a moment. */
const ID_WAIT_MS = 5000
const RETRY_MS = 250
const PROBE_MS_MAX = 2000
/** The founder of an empty cluster waits for so long for another one that is just starting. */
const MEETING_MS_MAX = 3000
const MEETING_RETRY_MS = 50
/** So often the founder of an empty cluster looks whether its seeds have come back with another one. */
const WATCH_MS = 5000
/** What the record says between the cluster that was given up and the one that is joined. */
const GIVEN_UP: NodeIdentity = { clusterId: '', directoryEpoch: 0, isFounder: false, isRegistered: false }
/** Answers to a registration after which nobody else need be asked. */
const DECIDING: ReadonlySet<ErrorCode> = new Set([
  ErrorCode.NONE,
  ErrorCode.INVALID_REGISTRATION,
  ErrorCode.DUPLICATE_BROKER_REGISTRATION,
])
const JOIN_MS_MAX = 10_000

export class ClusterNode {
  readonly #options: NodeOptions
  readonly #seeds: readonly PeerAddress[]
  #identity: NodeIdentity | undefined
  #forming: Forming | undefined
  /** Settled when a status can be told: the identity is known, or forming has begun. */
  readonly #tellable = Promise.withResolvers<void>()
  /** Addresses found by asking seeds, fresher than the metadata as long as this broker is out of touch with it. */
  readonly #found = new Map<number, PeerAddress>()
  #isStopped = false
  #isFounder: boolean
  #hasGivenUp: boolean
  #isDeciding = false
  /** Its cluster was empty at the start, and another start would give it up for one that the seeds have meanwhile. */
  #mayBeLeftBehind = false

  constructor(options: NodeOptions) {
    this.#options = options
    const { identity } = options
    this.#hasGivenUp = identity?.clusterId === ''
    this.#identity = this.#hasGivenUp ? undefined : identity
    this.#isFounder = identity?.isFounder === true
    this.#seeds = options.config.millraceSeeds.map((text) => parseAddress('--seed', text))
    const { links } = options
    links?.onProbe(ProbeKind.STATUS, (asker, reader) => this.#status(asker, reader))
    links?.onProbe(ProbeKind.JOIN, (_info, reader) => this.#join(registrationOf(parseJson(reader.rest()))))
  }

  get identity(): NodeIdentity | undefined {
    return this.#identity
  }

  get clusterId(): string {
    return this.#identity?.clusterId ?? ''
  }

  /** This broker is the first member of group 0. */
  get isFounder(): boolean {
    return this.#isFounder
  }

  /** Its own cluster was given up, now or before a crash: a metadata group in the storage is of that one, and counts no more. */
  get hasGivenUp(): boolean {
    return this.#hasGivenUp
  }

  /** It founded its cluster, and has seeds that may have founded another one without it. */
  get mayGiveWay(): boolean {
    return this.#isFounder && this.#identity !== undefined && this.#options.links !== undefined
  }

  /**
   * Asks the seeds whether they have another cluster than the one this broker founded, which holds nothing. If so, the record says that it is
   * given up before this resolves. The links must say that this broker has no cluster: those of another one do not answer else.
   * @returns whether it is given up
   */
  async givesWay(): Promise<boolean> {
    const { clusterId } = this.#identity!
    this.#isDeciding = true
    this.#tellable.resolve()
    const found = await this.#meet(clusterId)
    this.#isDeciding = false
    if (found === undefined) return false
    this.#mayBeLeftBehind = false
    // From here on whoever asks is told that this broker has none.
    this.#identity = undefined
    this.#isFounder = false
    this.#hasGivenUp = true
    await this.#options.saveIdentity(GIVEN_UP)
    this.#options.environment.logger.warn(
      `the cluster ${clusterId}, which this broker founded and nobody has used, is given up for the one of ${addressText(found)}`,
    )
    return true
  }

  /** @returns a seed whose cluster is the one to belong to; undefined to stay with the own one */
  async #meet(clusterId: string): Promise<PeerAddress | undefined> {
    const { clock, logger } = this.#options.environment
    const endMs = clock.monotonicMs() + MEETING_MS_MAX
    for (;;) {
      const answers = await Promise.all(this.#seeds.map((seed) => this.#ask(seed, -1, true)))
      if (this.#isStopped) throw stopped()
      const meeting = meetingOf(answers, clusterId)
      if (meeting.type === 'give-way') return this.#seeds[meeting.at]
      if (meeting.type === 'stay') {
        this.#mayBeLeftBehind = meeting.reason === undefined
        if (meeting.reason !== undefined) {
          logger.warn(`the cluster ${clusterId}, which only this broker belongs to, is kept: ${meeting.reason}`)
        }
        return undefined
      }
      if (clock.monotonicMs() >= endMs) {
        this.#mayBeLeftBehind = true
        return undefined
      }
      await new Promise<void>((resolve) => clock.after(MEETING_RETRY_MS, resolve))
    }
  }

  /**
   * Finds out which directory of this broker id this is, and so its raft id: from the record, or by forming a cluster or joining one.
   * @param hasMetadata whether the storage holds the metadata group: then it was alone until now, and goes on with what it has
   */
  async identify(hasMetadata: boolean): Promise<{ readonly directoryEpoch: number }> {
    if (this.#identity !== undefined) {
      // Whoever forgot its votes and its log must not take part as if it had them.
      if (this.#identity.isRegistered && !hasMetadata) throw journalMissing()
      this.#tellable.resolve()
      return this.#identity
    }
    if (!hasMetadata && this.#options.links !== undefined) return this.#form()
    // Which cluster it is, the metadata says, when there is any.
    this.#isFounder = true
    return { directoryEpoch: 0 }
  }

  /** The metadata group is open. @param clusterId by what is committed in it; '' for none yet */
  async settle(clusterId: string): Promise<NodeIdentity> {
    if (this.#identity === undefined) {
      const identity = {
        clusterId: clusterId === '' ? newUuid(this.#options.environment.random) : clusterId,
        directoryEpoch: 0,
        isFounder: true,
        isRegistered: false,
      }
      await this.#become(identity)
      this.#tellable.resolve()
    }
    return this.#identity!
  }

  async #become(identity: NodeIdentity): Promise<void> {
    await this.#options.saveIdentity(identity)
    this.#identity = identity
    this.#isFounder = identity.isFounder
  }

  async #form(): Promise<NodeIdentity> {
    const { environment, registration } = this.#options
    const forming = new Forming({
      nodeId: registration.nodeId,
      own: registration.peer ?? { host: '', port: 0 },
      seeds: this.#seeds,
      clock: environment.clock,
      logger: environment.logger,
      ask: (seed, position) => this.#ask(seed, position),
    })
    this.#forming = forming
    this.#tellable.resolve()
    const endIdWaitMs = environment.clock.monotonicMs() + ID_WAIT_MS
    let saidWhy = ''
    for (;;) {
      const formed = await forming.run()
      if (formed.type === 'found') {
        const clusterId = newUuid(environment.random)
        const identity = { clusterId, directoryEpoch: 0, isFounder: true, isRegistered: false }
        // From here on whoever asks is told of this cluster, and joins it.
        this.#identity = identity
        this.#mayBeLeftBehind = true
        await this.#become(identity)
        return identity
      }
      const answer = await this.#askToJoin(formed.through, registration)
      const { clusterId, directoryEpoch } = answer
      if (answer.error === ErrorCode.NONE && clusterId !== undefined && directoryEpoch !== undefined) {
        const identity = { clusterId, directoryEpoch, isFounder: false, isRegistered: false }
        await this.#become(identity)
        this.#learn(answer.peers ?? [])
        return identity
      }
      if (answer.error === ErrorCode.DUPLICATE_BROKER_REGISTRATION) {
        if (environment.clock.monotonicMs() > endIdWaitMs) throw idInUse(registration.nodeId, '')
      } else if (answer.error === ErrorCode.INVALID_REGISTRATION) {
        throw replaced(answer.message ?? '')
      } else if (saidWhy !== answer.message && answer.message != null) {
        saidWhy = answer.message
        environment.logger.warn(`cannot join the cluster through ${addressText(formed.through)} yet: ${saidWhy}`)
      }
      await this.#pause()
    }
  }

  async #askToJoin(through: PeerAddress, registration: Registration): Promise<RegisterAnswer> {
    const body = Buffer.from(JSON.stringify(registration))
    try {
      const { reply } = await this.#options.links!.probe(through.host, through.port, ProbeKind.JOIN, body, {
        timeoutMs: JOIN_MS_MAX,
      })
      const answer = registerAnswerOf(parseJson(reply.rest()))
      return answer ?? { error: ErrorCode.UNKNOWN_SERVER_ERROR, message: 'its answer makes no sense' }
    } catch (error) {
      if (!(error instanceof ProbeError)) throw error
      return { error: ErrorCode.NETWORK_EXCEPTION, message: error.message }
    }
  }

  /** @param hasCluster whether there may be a cluster to be joined here: then nobody founds another one meanwhile */
  async #ask(seed: PeerAddress, position: number, hasCluster = false): Promise<SeedAnswer> {
    const body = Buffer.alloc(5)
    body.writeInt32LE(position)
    body.writeUInt8(hasCluster ? 1 : 0, 4)
    try {
      const { reply } = await this.#options.links!.probe(seed.host, seed.port, ProbeKind.STATUS, body, {
        timeoutMs: PROBE_MS_MAX,
      })
      const status = seedStatusOf(parseJson(reply.rest()))
      return status === undefined
        ? { kind: 'unclear', reason: 'its answer makes no sense' }
        : { kind: 'answered', status }
    } catch (error) {
      if (!(error instanceof ProbeError)) throw error
      switch (error.refusal ?? error.code) {
        case 'ECONNREFUSED':
          return { kind: 'absent' }
        case 'SELF':
          return { kind: 'self' }
        case 'NODE_ID_IN_USE':
          return { kind: 'twin' }
        case 'OTHER_CLUSTER':
          return { kind: 'other-cluster' }
        default:
          return { kind: 'unclear', reason: error.message }
      }
    }
  }

  async #status(asker: LinkInfo, reader: PeerReader): Promise<Uint8Array> {
    const position = reader.i32()
    // Missing in the question of an earlier release.
    const hasCluster = reader.rest()[0] === 1
    await this.#tellable.promise
    const { nodeId } = this.#options.registration
    if (this.#identity === undefined) this.#forming?.asked(position, hasCluster)
    const known = this.#options.image().directoryId(asker.nodeId)
    const status: SeedStatus = {
      nodeId,
      clusterId: this.clusterId,
      ...(this.#isDeciding ? { isDeciding: true } : {}),
      ...(known !== '' && known !== asker.directoryId ? { isIdTaken: true } : {}),
    }
    return Buffer.from(JSON.stringify(status))
  }

  async #join(registration: Registration | undefined): Promise<Uint8Array> {
    if (registration === undefined) throw new MalformedPeerBytes('a registration that makes no sense')
    await this.#tellable.promise
    const answer =
      this.#identity === undefined || this.#isDeciding
        ? { error: ErrorCode.NOT_CONTROLLER, message: 'it has no cluster itself' }
        : await this.#options.askCluster({ type: 'register', registration })
    return Buffer.from(JSON.stringify(answer))
  }

  /**
   * Tells the metadata of this broker as it is now, for as long as that takes; then waits until this broker has caught up.
   * @param caughtUp called when it has
   * @returns when it is registered, or when it seems that no quorum is running
   */
  register(caughtUp: () => Promise<void>): Promise<void> {
    const { clock, logger } = this.#options.environment
    const seeds = this.#watchSeeds()
    const work = this.#register().then(caughtUp)
    // What fails here stops the broker, whether somebody waits for it or not.
    return new Promise((resolve, reject) => {
      const late = clock.after(QUORUM_WAIT_MS, () => {
        if (this.#options.links !== undefined) {
          logger.warn(
            'no majority of the metadata group answers: this broker is ready, and takes part when there is one',
          )
          resolve()
        }
      })
      work.then(resolve, reject).finally(() => late.cancel())
      seeds.catch(reject)
      for (const part of [work, seeds]) {
        part.catch((error: unknown) => {
          if (this.#isStopped) return
          if (error instanceof OperatorError) this.#options.onFatal(error)
          else throw error
        })
      }
    })
  }

  /** @throws OperatorError as #seedsOfThisCluster; later only that this broker is left behind */
  async #watchSeeds(): Promise<void> {
    // A broker that is a majority by itself would not notice otherwise that its seeds are of another cluster.
    await this.#seedsOfThisCluster()
    while (!this.#isStopped && this.#isLeftAlone) {
      await new Promise<void>((resolve) => this.#options.environment.clock.after(WATCH_MS, resolve))
      if (this.#isStopped || !this.#isLeftAlone) return
      await this.#seedsOfThisCluster().catch((error: unknown) => {
        // Whoever comes later with our id, or comes when somebody works here, is the one to stop.
        if (!(error instanceof OperatorError) || error.code === LEFT_BEHIND) throw error
      })
    }
  }

  /** Nobody has joined or used the cluster that this broker founded. */
  get #isLeftAlone(): boolean {
    if (!this.#mayBeLeftBehind || this.#seeds.length === 0) return false
    const image = this.#options.image()
    if (image.nextGroupId > 1 || image.brokers.length > 1) return false
    return isEmptyImage(image.serialize(), this.#options.registration.nodeId)
  }

  async #register(): Promise<void> {
    const { environment, registration } = this.#options
    const { clusterId, directoryEpoch } = this.#identity!
    await this.#leavesOldAddress()
    const endIdWaitMs = environment.clock.monotonicMs() + ID_WAIT_MS
    for (;;) {
      const answer = await this.#askToRegister({ ...registration, directoryEpoch }, clusterId)
      if (this.#isStopped) return
      if (answer.error === ErrorCode.NONE) {
        if (!this.#identity!.isRegistered) await this.#become({ ...this.#identity!, isRegistered: true })
        this.#learn(answer.peers ?? [])
        await this.#options.whenApplied(answer.metadataIndex ?? -1)
        this.#found.clear()
        this.peersChanged()
        return
      }
      if (answer.error === ErrorCode.INVALID_REGISTRATION) throw replaced(answer.message ?? '')
      const isTaken = answer.error === ErrorCode.DUPLICATE_BROKER_REGISTRATION
      if (isTaken && environment.clock.monotonicMs() > endIdWaitMs) throw idInUse(registration.nodeId, '')
      await this.#lookForPeers()
      await this.#pause()
    }
  }

  /**
   * A broker that comes back at another address looks whether it still runs at the old one: then this directory is a copy, whose
   * registration would draw the clients of the original here.
   * @throws OperatorError when it does
   */
  async #leavesOldAddress(): Promise<void> {
    const { links, registration } = this.#options
    const { nodeId, peer } = registration
    const known = this.#options.image().broker(nodeId)?.peer
    if (links === undefined || known == null || peer == null) return
    if (known.host === peer.host && known.port === peer.port) return
    const { kind } = await this.#ask(known, -1)
    if (kind === 'twin') throw idInUse(nodeId, addressText(known))
  }

  /**
   * Through the metadata group as this broker knows it, and through the seeds: a directory that was replaced is no member any more, and
   * nobody tells it who leads.
   * @returns the first answer that decides something
   */
  async #askToRegister(registration: Registration, newClusterId: string): Promise<RegisterAnswer> {
    const asks = [
      this.#options.askCluster({ type: 'register', registration, newClusterId }),
      this.#options.links === undefined ? undefined : this.#registerThroughSeeds(registration),
    ].filter((ask) => ask !== undefined)
    return new Promise((resolve, reject) => {
      let left = asks.length
      const answered = (answer: RegisterAnswer): void => {
        if (DECIDING.has(answer.error) || --left === 0) resolve(answer)
      }
      for (const ask of asks) {
        ask.then(answered, (error: unknown) => {
          if (error instanceof OperatorError) reject(error)
          // Another broker's failure is not ours: it is asked again.
          else answered({ error: ErrorCode.UNKNOWN_SERVER_ERROR, message: String(error) })
        })
      }
    })
  }

  async #registerThroughSeeds(registration: Registration): Promise<RegisterAnswer> {
    let answer: RegisterAnswer = { error: ErrorCode.NOT_CONTROLLER, message: null }
    for (const seed of this.#seeds) {
      answer = await this.#askToJoin(seed, registration)
      if (DECIDING.has(answer.error)) break
    }
    return answer
  }

  /** Brokers may have moved to other addresses since this one last heard of them: the seeds know. */
  async #lookForPeers(): Promise<void> {
    for (const [nodeId, seed] of await this.#seedsOfThisCluster()) this.#found.set(nodeId, seed)
    this.peersChanged()
  }

  /** @throws OperatorError when the seeds are of another cluster, or another broker has our id */
  async #seedsOfThisCluster(): Promise<Map<number, PeerAddress>> {
    const own = new Map<number, PeerAddress>()
    if (this.#options.links === undefined) return own
    let foreign: PeerAddress | undefined
    let mayBeOwn = false
    const ask = async (seed: PeerAddress): Promise<void> => {
      const answer = await this.#ask(seed, -1).catch(() => undefined)
      if (answer?.kind === 'twin') throw idInUse(this.#options.registration.nodeId, addressText(seed))
      if (answer?.kind === 'other-cluster') foreign ??= seed
      if (answer === undefined || answer.kind === 'absent' || answer.kind === 'unclear') mayBeOwn = true
      // Whoever is about to leave another cluster answers, too.
      if (answer?.kind === 'answered' && ['', this.clusterId].includes(answer.status.clusterId)) {
        own.set(answer.status.nodeId, seed)
      }
    }
    await Promise.all(this.#seeds.map(ask))
    // One address that somebody else has taken stops nobody whose cluster answers at the others, or may just be starting there.
    const hasOthers = !this.#isFounder || this.#options.image().brokers.length > 1
    if (mayBeOwn && hasOthers) return own
    if (foreign !== undefined && own.size === 0 && !this.#isStopped) {
      throw this.#isLeftAlone ? leftBehind(this.clusterId, foreign) : otherCluster(this.clusterId, foreign)
    }
    return own
  }

  #learn(peers: readonly (PeerAddress & { readonly nodeId: number })[]): void {
    for (const { nodeId, host, port } of peers) this.#found.set(nodeId, { host, port })
    this.peersChanged()
  }

  /** The brokers this one keeps links to: as the metadata knows them, or as they were found. */
  peers(): { nodeId: number; host: string; port: number }[] {
    const known = new Map<number, PeerAddress>()
    for (const { nodeId, peer } of this.#options.image().brokers) if (peer !== null) known.set(nodeId, peer)
    for (const [nodeId, address] of this.#found) known.set(nodeId, address)
    known.delete(this.#options.registration.nodeId)
    return Array.from(known, ([nodeId, { host, port }]) => ({ nodeId, host, port }))
  }

  peersChanged(): void {
    this.#options.links?.setPeers(this.peers())
  }

  stop(): void {
    this.#isStopped = true
    this.#forming?.stop()
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#options.environment.clock.after(RETRY_MS, resolve))
  }
}

function replaced(message: string): OperatorError {
  return new OperatorError('DATA_DIRECTORY_REPLACED', message, 'Start the broker with an empty data directory.')
}

function otherCluster(own: string, seed: PeerAddress): OperatorError {
  return new OperatorError(
    'WRONG_CLUSTER',
    `the data directory belongs to cluster ${own}, and the seed ${addressText(seed)} to another one`,
    'Give --seed the brokers of the same cluster, or choose another directory with --data-dir.',
  )
}

function leftBehind(own: string, seed: PeerAddress): OperatorError {
  return new OperatorError(
    LEFT_BEHIND,
    `this broker founded the cluster ${own}, which nobody has joined or used, and the seed ${addressText(seed)} belongs to another one`,
    'Start it again: it then gives up its own cluster and joins the other one.',
  )
}

function journalMissing(): OperatorError {
  return new OperatorError(
    'DATA_DIRECTORY_DAMAGED',
    'the data directory belongs to a member of a cluster, and its journals hold no metadata',
    'Restore the directory from a copy, or start with an empty one.',
  )
}
