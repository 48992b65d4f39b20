// Which topics the members of a "consumer" group read, as far as their metadata says so.
//
// Pure. The metadata is what the clients made for each other (ConsumerProtocolSubscription); the broker looks into it only to
// know which committed offsets are in use.

import { decoder } from '../../protocol/compile.ts'
import { ConsumerProtocolSubscription } from '../../protocol/messages/consumer-protocol.ts'
import { MalformedFrame, Reader } from '../../protocol/reader.ts'
import { type Member, metadataOf } from './members.ts'

/** Every later version starts with the fields of version 0, so that one decoder does for all. */
const VERSION = 0

/** @returns undefined when it cannot be told: no protocol chosen yet, or metadata that does not parse */
export function subscribedTopicsOf(
  members: Iterable<Member>,
  protocolName: string | undefined,
): ReadonlySet<string> | undefined {
  const topics = new Set<string>()
  for (const member of members) {
    const subscribed = protocolName === undefined ? undefined : topicsIn(metadataOf(member, protocolName))
    if (subscribed === undefined) return undefined
    for (const topic of subscribed) topics.add(topic)
  }
  return topics
}

function topicsIn(metadata: Uint8Array): readonly string[] | undefined {
  try {
    const reader = new Reader(metadata)
    if (reader.int16() < 0) return undefined
    return decoder(ConsumerProtocolSubscription, VERSION)(reader).topics
  } catch (error) {
    if (error instanceof MalformedFrame) return undefined
    throw error
  }
}
