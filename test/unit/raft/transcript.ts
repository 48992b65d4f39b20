// Runs Raft transcripts: a command, a line `----`, the full answer, an empty line. The answer is everything that happened.
//
// Lines starting with # are comments and stay. With UPDATE_TRANSCRIPTS=1 in the environment the answers are written anew;
// review the diff. Commands are listed in `commands` below.

import { Membership, type MembershipOptions } from '../../../broker/raft/membership.ts'
import { type RaftOptions, RaftSettings } from '../../../broker/raft/raft.ts'
import {
  Entry,
  EntryKind,
  type Envelope,
  type HardState,
  type Message,
  NO_INDEX,
  NOBODY,
  type NodeId,
  type Ready,
} from '../../../broker/raft/types.ts'
import { copyMessage, lastOf, ModelNode, type Parcel } from './model-node.ts'

class Stage {
  readonly nodes = new Map<NodeId, ModelNode>()
  readonly lines: string[] = []
  network: Parcel[] = []
  /** For nodes that are added later. */
  raftOptions: RaftOptions | undefined
  /** Nodes whose messages, both ways, are thrown away. */
  readonly cut = new Set<NodeId>()

  node(word: string | undefined): ModelNode {
    const node = this.nodes.get(Number(word))
    if (node === undefined) throw new Error(`no node ${word}`)
    return node
  }

  say(line: string): void {
    this.lines.push(line)
  }

  collect(node: ModelNode): void {
    for (const parcel of node.outbox.splice(0)) {
      if (this.cut.has(parcel.from) || this.cut.has(parcel.to)) continue
      this.network.push(parcel)
    }
  }

  /** Takes one Ready of a node and says what is in it. */
  ready(node: ModelNode): boolean {
    const said: string[] = []
    const ready = node.raft.ready
    node.raft.ready = () => {
      const answer = ready.call(node.raft)
      if (answer !== undefined) said.push(...describeReady(node, answer))
      return answer
    }
    const wasReady = node.takeReady() !== undefined
    node.raft.ready = ready
    for (const line of said) this.say(line)
    this.collect(node)
    return wasReady
  }

  deliver(parcel: Parcel): void {
    this.say(`${parcel.from} -> ${parcel.to} ${describeMessage(parcel.message)}`)
    this.nodes.get(parcel.to)?.raft.receive(parcel.from, copyMessage(parcel.message))
  }

  /** Ready, disk and network of all nodes (or those named), until nothing is left to do. */
  stabilize(ids: readonly NodeId[]): void {
    const nodes = [...this.nodes.values()].filter((node) => ids.length === 0 || ids.includes(node.id))
    let turnCount = 0
    for (let busy = true; busy; ) {
      busy = false
      turnCount += 1
      if (turnCount > 500) throw new Error(`the nodes never settle: ${this.lines.slice(-20).join('\n')}`)
      for (const node of nodes) {
        while (this.ready(node)) busy = true
        while (this.durable(node)) busy = true
      }
      const deliverable = this.network.filter((parcel) => nodes.some((node) => node.id === parcel.to))
      this.network = this.network.filter((parcel) => !deliverable.includes(parcel))
      for (const parcel of deliverable) {
        this.deliver(parcel)
        busy = true
      }
    }
  }

  durable(node: ModelNode): boolean {
    const completed = node.completeRound()
    if (completed) this.say(`${node.id} disk: durable to ${node.disk.lastIndex}`)
    this.collect(node)
    return completed
  }
}

/** word: what it does. Arguments are words; name=value are options. */
type Command = (stage: Stage, words: string[], options: Map<string, string>) => void

const commands: Record<string, Command> = {
  // nodes 1 2 3 [learners=4] [witnesses=3] [elect=2] [commit=2] [election=10] [heartbeat=1] [prevote=no] [quorum=no]
  // [inflight=64] [entries=64] [appendbytes=1000] [inflightbytes=8000] [heartbeats=no]
  nodes(stage, words, options) {
    const membership = new Membership(words.map(Number), list(options, 'learners'), [], membershipOptions(options))
    stage.raftOptions = {
      electionTicks: Number(options.get('election') ?? 10),
      heartbeatTicks: Number(options.get('heartbeat') ?? 1),
      preVote: options.get('prevote') !== 'no',
      checkQuorum: options.get('quorum') !== 'no',
      inflightAppendsMax: Number(options.get('inflight') ?? 64),
      appendEntriesMax: Number(options.get('entries') ?? 64),
      appendBytesMax: Number(options.get('appendbytes') ?? 1000),
      inflightBytesMax: Number(options.get('inflightbytes') ?? 8000),
      readsMax: 3,
      groupHeartbeats: options.get('heartbeats') !== 'no',
      jitter: () => 0,
    }
    for (const id of membership.members) {
      stage.nodes.set(id, new ModelNode(new RaftSettings(stage.raftOptions), id, membership))
    }
  },
  // unborn 4: a node without data that is no founder
  unborn(stage, words) {
    const id = Number(words[0])
    stage.nodes.set(id, new ModelNode(new RaftSettings(stage.raftOptions!), id, undefined))
  },
  // change 1 voters=1,2 [learners=3] [witnesses=..] [elect=..] [commit=..]
  change(stage, words, options) {
    const { raft } = stage.node(words[0])
    const change = raft.changeMembership(list(options, 'voters'), list(options, 'learners'), membershipOptions(options))
    if (change !== 'proposed') stage.say(change)
  },
  // read 1 7: a quorum read with context 7
  read(stage, words) {
    if (!stage.node(words[0]).raft.requestRead(Number(words[1]))) stage.say('refused')
  },
  // lease 1 confirmed=2,3
  lease(stage, words, options) {
    const confirmed = list(options, 'confirmed')
    stage.say(stage.node(words[0]).raft.hasLease((id) => confirmed.includes(id)) ? 'lease' : 'no lease')
  },
  // checkquorum 1 active=2
  checkquorum(stage, words, options) {
    const active = list(options, 'active')
    stage.say(stage.node(words[0]).raft.checkQuorum((id) => active.includes(id)) ? 'leads' : 'leads no more')
  },
  lost: (stage, words) => stage.node(words[0]).raft.leaderLost(),
  reachable: (stage, words) => stage.node(words[0]).raft.reachable(Number(words[1])),
  // quiet: who needs no tick, and who has nothing under way
  quiet(stage) {
    for (const { id, raft } of stage.nodes.values()) {
      stage.say(`${id}: ${raft.isQuiescent ? 'quiescent' : 'busy'}, ${raft.needsTicks ? 'needs ticks' : 'no ticks'}`)
    }
  },
  // log 1 term=3 1 1 2:5 3: the terms of the entries on its disk, from index 1, the third covering five indexes; term= its
  // current term; voted= its vote
  log(stage, words, options) {
    const entries: Entry[] = []
    for (const word of words.slice(1)) {
      const [term = 0, count = 1] = word.split(':').map(Number)
      const index = 1 + entries.reduce((sum, entry) => sum + entry.count, 0)
      entries.push(new Entry(index, term, count, EntryKind.Batch, 1, `${term}.${index}`))
    }
    const votedFor = Number(options.get('voted') ?? NOBODY)
    const term = Number(options.get('term') ?? entries.at(-1)?.term ?? 0)
    stage.node(words[0]).install({ term, votedFor }, entries)
  },
  // campaign 1 [force]
  campaign: (stage, words) => stage.node(words[0]).raft.campaign({ force: words[1] === 'force' }),
  // propose 1 a b:5 c:1:700 -> one entry; one that covers five indexes; one of 700 bytes
  propose(stage, words) {
    for (const word of words.slice(1)) {
      const [ref, count = '1', bytes = '1'] = word.split(':')
      const entry = stage.node(words[0]).raft.propose(EntryKind.Batch, Number(count), ref, Number(bytes))
      if (entry === undefined) stage.say(`refused ${ref}`)
    }
  },
  tick(stage, words) {
    for (let count = Number(words[1] ?? 1); count > 0; count -= 1) stage.node(words[0]).raft.tick()
  },
  ready: (stage, words) => void stage.ready(stage.node(words[0])),
  // durable 1: the oldest write of the node is on disk, and so is all before it
  durable: (stage, words) => void stage.durable(stage.node(words[0])),
  stabilize: (stage, words) => stage.stabilize(words.map(Number)),
  // deliver 1 2: what 1 has sent to 2; deliver 2: what anyone has sent to 2
  deliver(stage, words) {
    const to = Number(words.at(-1))
    const from = words.length > 1 ? Number(words[0]) : undefined
    const chosen = stage.network.filter((parcel) => parcel.to === to && (from === undefined || parcel.from === from))
    stage.network = stage.network.filter((parcel) => !chosen.includes(parcel))
    for (const parcel of chosen) stage.deliver(parcel)
  },
  // drop [1 2]: throws away what 1 has sent to 2, or everything
  drop(stage, words) {
    const [from, to] = words.map(Number)
    stage.network = stage.network.filter((parcel) => words.length > 0 && (parcel.from !== from || parcel.to !== to))
  },
  cut(stage, words) {
    for (const word of words) stage.cut.add(Number(word))
    stage.network = stage.network.filter((parcel) => !stage.cut.has(parcel.from) && !stage.cut.has(parcel.to))
  },
  join(stage, words) {
    for (const word of words) stage.cut.delete(Number(word))
  },
  // restart 1 [n]: forgets what was not durable, but for n unanswered writes
  restart: (stage, words) => stage.node(words[0]).restart(Number(words[1] ?? 0)),
  // late 1 term index: a disk answer out of time
  late: (stage, words) => stage.node(words[0]).raft.durable(Number(words[1]), Number(words[2])),
  transfer(stage, words) {
    if (!stage.node(words[0]).raft.transfer(Number(words[1]))) stage.say('refused')
  },
  stepdown: (stage, words) => stage.node(words[0]).raft.stepDown(),
  unreachable: (stage, words) => stage.node(words[0]).raft.unreachable(Number(words[1])),
  trim: (stage, words) => stage.node(words[0]).trim(Number(words[1])),
  status(stage, words) {
    for (const node of stage.nodes.values()) {
      if (words.length === 0 || words.includes(String(node.id))) stage.say(describeNode(node))
    }
  },
  // logs: terms of each node's log, index by index
  logs(stage) {
    for (const { id, log } of stage.nodes.values()) {
      const terms = log.entries.flatMap((entry) => Array.from({ length: entry.count }, () => entry.term))
      stage.say(`${id}: ${log.startIndex > 0 ? `[..${log.startIndex}] ` : ''}${terms.join(' ')}`)
    }
  },
}

function list(options: Map<string, string>, name: string): NodeId[] {
  return (options.get(name) ?? '').split(',').filter(Boolean).map(Number)
}

function membershipOptions(options: Map<string, string>): MembershipOptions {
  const size = (name: string): number | undefined => (options.has(name) ? Number(options.get(name)) : undefined)
  return { electionSize: size('elect'), commitSize: size('commit'), witnesses: list(options, 'witnesses') }
}

/** Runs a transcript. @returns the same text with the answers this code gives */
export function runTranscript(text: string): string {
  const stage = new Stage()
  const written: string[] = []
  const lines = text.split('\n')
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at]!
    if (line.startsWith('#') || line.trim() === '') {
      written.push(line)
      continue
    }
    written.push(line)
    const words = line.split(/\s+/)
    const options = new Map(
      words.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string]),
    )
    const command = commands[words[0]!]
    if (command === undefined) throw new Error(`unknown command: ${line}`)
    const plain = words.slice(1).filter((word) => !word.includes('='))
    command(stage, plain, options)
    for (const node of stage.nodes.values()) stage.collect(node)
    if (lines[at + 1] === '----') while (at + 1 < lines.length && lines[at + 1] !== '') at += 1
    written.push('----', ...(stage.lines.length === 0 ? ['ok'] : stage.lines.splice(0)))
  }
  if (stage.nodes.size === 0) throw new Error('a transcript without nodes says nothing')
  return written.join('\n')
}

function describeNode(node: ModelNode): string {
  const { raft } = node
  const leader = raft.leaderId === NOBODY ? '-' : raft.leaderId
  const vote = raft.votedFor === NOBODY ? '-' : raft.votedFor
  const position = `last ${raft.lastIndex}/t${raft.lastTerm}, durable ${raft.durableIndex}, commit ${raft.commitIndex}`
  let line = `${node.id}: ${raft.role} term ${raft.term}, leader ${leader}, vote ${vote}, ${position}`
  for (let id = 1; id < 10; id += 1) {
    const peer = raft.progressOf(id)
    if (peer === undefined) continue
    line += `, ${id}: ${peer.state}${peer.isLost ? ' (lost)' : ''} match ${peer.matchIndex} next ${peer.nextIndex}`
  }
  if (raft.membershipIndex > 0 || raft.membership.isUnborn) line += `, ${describeMembership(raft.membership)}`
  return line
}

/** voters 1 2, outgoing 2 3, learners 4, witnesses 1: only what there is. */
function describeMembership(membership: Membership): string {
  if (membership.isUnborn) return 'unborn'
  const parts = [
    ['voters', membership.voters],
    ['outgoing', membership.outgoing],
    ['learners', membership.learners],
    ['witnesses', membership.witnesses],
  ] as const
  return parts
    .filter(([, ids]) => ids.length > 0)
    .map(([name, ids]) => `${name} ${ids.join(' ')}`)
    .join(', ')
}

function describeReady(node: ModelNode, ready: Ready): string[] {
  const lines: string[] = []
  const { id } = node
  if (ready.roleChanged) {
    const leader = node.raft.leaderId === NOBODY ? 'nobody' : node.raft.leaderId
    lines.push(`${id} is ${node.raft.role} of term ${node.raft.term}, leader ${leader}`)
  }
  if (ready.membershipChanged) {
    const { membership, membershipIndex, committedMembership } = node.raft
    const isCommitted = committedMembership.membership === membership
    const state = isCommitted ? 'committed' : 'in force'
    lines.push(`${id} membership ${membershipIndex} ${state}: ${describeMembership(membership)}`)
  }
  if (ready.snapshot !== undefined) lines.push(`${id} snapshot: ${ready.snapshot.index}/t${ready.snapshot.indexTerm}`)
  if (ready.truncateFrom !== NO_INDEX) lines.push(`${id} cut from: ${ready.truncateFrom}`)
  if (ready.hardState !== undefined) lines.push(`${id} hard state: ${describeHardState(ready.hardState)}`)
  if (ready.entries.length > 0) lines.push(`${id} write: ${ready.entries.map(describeEntry).join(' ')}`)
  for (const envelope of ready.sendNow) lines.push(`${id} now: ${describeEnvelope(envelope)}`)
  for (const envelope of ready.sendWhenDurable) lines.push(`${id} when durable: ${describeEnvelope(envelope)}`)
  if (ready.commitIndex > node.appliedIndex) {
    const entries = ready.committed.map(describeEntry).join(' ')
    lines.push(`${id} committed to ${ready.commitIndex}: ${entries === '' ? '(on disk)' : entries}`)
  }
  for (const { context, index } of ready.reads) lines.push(`${id} read ${context} confirmed at ${index}`)
  for (const load of ready.loads) lines.push(`${id} load: from ${load.firstIndex} for ${load.to}`)
  return lines
}

function describeHardState(state: HardState): string {
  return `term ${state.term}, vote ${state.votedFor === NOBODY ? '-' : state.votedFor}`
}

function describeEnvelope(envelope: Envelope): string {
  return `-> ${envelope.to} ${describeMessage(envelope.message)}`
}

/** index/term and payload: 4/t2:x, 5-9/t2:y, 10/t3:leader. */
function describeEntry(entry: Entry): string {
  const span = entry.count === 1 ? `${entry.index}` : `${entry.index}-${lastOf(entry)}`
  return `${span}/t${entry.term}:${describePayload(entry)}`
}

function describePayload({ kind, ref }: Entry): string {
  if (kind === EntryKind.LeaderChange) return 'leader'
  return kind === EntryKind.Membership ? `(${describeMembership(ref as Membership)})` : String(ref)
}

function describeMessage(message: Message): string {
  switch (message.type) {
    case 'append': {
      const entries = message.entries.map(describeEntry).join(' ')
      return `append t${message.term} after ${message.prevIndex}/t${message.prevTerm} commit ${message.commitIndex} [${entries}]`
    }
    case 'append-reply':
      if (!message.rejected) return `append-reply t${message.term} have ${message.index}`
      return `append-reply t${message.term} no ${message.index}, try ${message.hintIndex}/t${message.hintTerm}`
    case 'heartbeat':
      return `heartbeat t${message.term} commit ${message.commitIndex}${asked(message.context)}`
    case 'heartbeat-reply':
      return `heartbeat-reply t${message.term}${asked(message.context)}`
    case 'vote-request': {
      const kind = message.pre ? 'pre-vote-request' : message.transfer ? 'vote-request (transfer)' : 'vote-request'
      return `${kind} t${message.term} last ${message.lastIndex}/t${message.lastTerm}`
    }
    case 'vote-reply':
      return `${message.pre ? 'pre-vote-reply' : 'vote-reply'} t${message.term} ${message.granted ? 'yes' : 'no'}`
    case 'timeout-now':
      return `timeout-now t${message.term}`
    case 'snapshot':
      return `snapshot t${message.term} at ${message.index}/t${message.indexTerm}`
  }
}

function asked(context: number): string {
  return context === 0 ? '' : ` read ${context}`
}
