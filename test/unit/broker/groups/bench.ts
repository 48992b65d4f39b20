// One classic group under virtual time: steps it, keeps its answers, stores what it wants stored.

import assert from 'node:assert/strict'
import { ClassicGroup, type ClassicGroupOptions } from '../../../../broker/groups/classic.ts'
import type {
  Effect,
  Event,
  GroupMetadata,
  JoinAnswer,
  JoinEvent,
  LeaveAnswer,
  SyncAnswer,
  SyncEvent,
} from '../../../../broker/groups/classic-events.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'

export const bytes = (text: string): Uint8Array => Buffer.from(text)
export const text = (value: Uint8Array): string => Buffer.from(value).toString()

/** ConsumerProtocolSubscription, version 0, without user data. */
export function subscription(...topics: string[]): Uint8Array {
  const parts = [Buffer.from([0, 0, 0, 0, 0, topics.length])]
  for (const topic of topics) parts.push(Buffer.from([0, topic.length]), Buffer.from(topic))
  parts.push(Buffer.from([0xff, 0xff, 0xff, 0xff]))
  return Buffer.concat(parts)
}

export const DELAY_MS = 3_000
export const SESSION_MS = 10_000
export const REBALANCE_MS = 60_000
export const NEW_MEMBER_MS = 300_000

export interface JoinOptions {
  memberId?: string
  instance?: string | null
  protocols?: readonly (string | readonly [string, Uint8Array])[]
  protocolType?: string
  sessionMs?: number
  rebalanceMs?: number
  known?: boolean
  skip?: boolean
  newId?: string
}

export class Bench {
  group: ClassicGroup
  nowMs = 1_000
  readonly answers = new Map<number, Extract<Effect, { request: number }>>()
  readonly asked = new Map<number, Event['type']>()
  readonly stored: GroupMetadata[] = []
  /** Kept back while true; release() lets them through. */
  holdsStores = false
  #pendingStores: number[] = []
  #nextRequest = 1
  #nextMember = 1

  constructor(options: Partial<ClassicGroupOptions> = {}, group?: ClassicGroup) {
    this.group = group ?? new ClassicGroup('g', { ...OPTIONS, ...options })
  }

  step(event: Event): void {
    const effects = this.group.step(event, { monotonicMs: this.nowMs, wallMs: 1e12 + this.nowMs })
    const stores: number[] = []
    for (const effect of effects) {
      if (effect.type === 'store') {
        this.stored.push(effect.metadata)
        stores.push(effect.store)
        continue
      }
      assert(this.asked.has(effect.request), 'only what was asked is answered')
      assert(!this.answers.has(effect.request), 'a request is answered once')
      this.answers.set(effect.request, effect)
    }
    if (this.holdsStores) this.#pendingStores.push(...stores)
    else for (const store of stores) this.step({ type: 'stored', store, error: ErrorCode.NONE })
  }

  release(error: ErrorCode = ErrorCode.NONE): void {
    const stores = this.#pendingStores
    this.#pendingStores = []
    for (const store of stores) this.step({ type: 'stored', store, error })
  }

  /** Lets time pass; ticks as often as the group asks for. */
  advance(ms: number): void {
    const endMs = this.nowMs + ms
    for (let turns = 0; this.group.wakeAtMs <= endMs; turns++) {
      assert(turns < 100_000, 'a group does not tick without end')
      this.nowMs = Math.max(this.nowMs, this.group.wakeAtMs)
      this.step({ type: 'tick' })
    }
    this.nowMs = endMs
  }

  join(options: JoinOptions = {}): number {
    const request = this.#request('join')
    const event: JoinEvent = {
      type: 'join',
      request,
      memberId: options.memberId ?? '',
      groupInstanceId: options.instance ?? null,
      newMemberId: options.newId ?? `m${this.#nextMember++}`,
      clientId: 'client',
      clientHost: '/127.0.0.1',
      sessionTimeoutMs: options.sessionMs ?? SESSION_MS,
      rebalanceTimeoutMs: options.rebalanceMs ?? REBALANCE_MS,
      protocolType: options.protocolType ?? 'consumer',
      protocols: (options.protocols ?? ['range']).map((protocol) =>
        typeof protocol === 'string'
          ? { name: protocol, metadata: subscription('t') }
          : { name: protocol[0], metadata: protocol[1] },
      ),
      requiresKnownMemberId: options.known ?? false,
      supportsSkipAssignment: options.skip ?? false,
    }
    this.step(event)
    return request
  }

  sync(
    memberId: string,
    options: Partial<Omit<SyncEvent, 'type' | 'assignments'>> & { assign?: Record<string, string> } = {},
  ): number {
    const request = this.#request('sync')
    this.step({
      type: 'sync',
      request,
      memberId,
      groupInstanceId: options.groupInstanceId ?? null,
      generationId: options.generationId ?? this.group.generationId,
      protocolType: options.protocolType ?? null,
      protocolName: options.protocolName ?? null,
      assignments: Object.entries(options.assign ?? {}).map(([id, value]) => ({
        memberId: id,
        assignment: bytes(value),
      })),
    })
    return request
  }

  heartbeat(memberId: string, generationId = this.group.generationId, instance: string | null = null): ErrorCode {
    const request = this.#request('heartbeat')
    this.step({ type: 'heartbeat', request, memberId, groupInstanceId: instance, generationId })
    const effect = this.answers.get(request)
    assert(effect?.type === 'heartbeat-answer')
    return effect.answer
  }

  leave(...members: (string | { memberId: string; groupInstanceId: string | null })[]): LeaveAnswer {
    const request = this.#request('leave')
    const asked = members.map((member) =>
      typeof member === 'string' ? { memberId: member, groupInstanceId: null } : member,
    )
    this.step({ type: 'leave', request, members: asked })
    const effect = this.answers.get(request)
    assert(effect?.type === 'leave-answer')
    return effect.answer
  }

  joined(request: number): JoinAnswer {
    const effect = this.answers.get(request)
    assert(effect?.type === 'join-answer', 'the JoinGroup is answered')
    return effect.answer
  }

  synced(request: number): SyncAnswer {
    const effect = this.answers.get(request)
    assert(effect?.type === 'sync-answer', 'the SyncGroup is answered')
    return effect.answer
  }

  waits(request: number): boolean {
    return !this.answers.has(request)
  }

  ids(): string[] {
    return [...this.group.members()].map(({ memberId }) => memberId)
  }

  /** A Stable group of so many dynamic members m1.. with generation 1, led by m1; assignments a1... */
  stable(count: number, options: JoinOptions = {}): void {
    for (let at = 1; at <= count; at++) this.join({ ...options, newId: `m${at}`, instance: null })
    this.#nextMember = count + 1
    this.endJoinPhase()
    const assign = Object.fromEntries(this.ids().map((id) => [id, `a${id.slice(1)}`]))
    for (const id of this.ids()) this.sync(id, id === this.group.leaderId ? { assign } : {})
    assert.equal(this.group.state, 'Stable')
  }

  /** As stable(), of static members i1.. with the ids s1... */
  stableStatic(count: number, options: JoinOptions = {}): void {
    for (let at = 1; at <= count; at++) this.join({ ...options, instance: `i${at}`, newId: `s${at}` })
    this.endJoinPhase()
    const assign = Object.fromEntries(this.ids().map((id) => [id, `a${id.slice(1)}`]))
    for (const id of this.ids()) this.sync(id, id === this.group.leaderId ? { assign } : {})
    assert.equal(this.group.state, 'Stable')
  }

  endJoinPhase(): void {
    while (this.group.state === 'PreparingRebalance') this.advance(Math.max(this.group.wakeAtMs - this.nowMs, 0))
  }

  #request(type: Event['type']): number {
    const request = this.#nextRequest++
    this.asked.set(request, type)
    return request
  }
}

export const OPTIONS: ClassicGroupOptions = {
  initialRebalanceDelayMs: DELAY_MS,
  maxSize: 0x7fff_ffff,
  newMemberJoinTimeoutMs: NEW_MEMBER_MS,
}
