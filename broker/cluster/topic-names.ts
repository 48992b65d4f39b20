// Which topic names are good, which collide, and which topics are the broker's own. Pure functions.

export const OFFSETS_TOPIC = '__consumer_offsets'
export const TRANSACTION_STATE_TOPIC = '__transaction_state'
export const SHARE_STATE_TOPIC = '__share_group_state'
/** Kafka's metadata topic; no topic may take its name. */
export const CLUSTER_METADATA_TOPIC = '__cluster_metadata'

const INTERNAL = new Set([OFFSETS_TOPIC, TRANSACTION_STATE_TOPIC, SHARE_STATE_TOPIC])
const MAX_NAME_LENGTH = 249

/** True for the three topics that brokers keep state in, not for every name that begins with two underscores. */
export function isInternalTopic(name: string): boolean {
  return INTERNAL.has(name)
}

/** @returns what is wrong with a topic name, in Kafka's words (INVALID_TOPIC_EXCEPTION), or undefined */
export function topicNameProblem(name: string): string | undefined {
  const reason = nameReason(name)
  return reason === undefined ? undefined : `Topic name is invalid: ${reason}`
}

function nameReason(name: string): string | undefined {
  if (name === '') return 'the empty string is not allowed'
  if (name === '.') return "'.' is not allowed"
  if (name === '..') return "'..' is not allowed"
  if (name.length > MAX_NAME_LENGTH) {
    return `the length of '${name}' is longer than the max allowed length ${MAX_NAME_LENGTH}`
  }
  if (!/^[a-zA-Z0-9._-]+$/.test(name)) {
    return `'${name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'`
  }
  return undefined
}

/** Names with the same key collide: metric names cannot tell '.' from '_'. */
export function collisionKey(name: string): string {
  return name.replaceAll('.', '_')
}
