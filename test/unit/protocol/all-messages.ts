// Every message we declare, for the tests that walk them all.

import * as consumerProtocol from '../../../protocol/messages/consumer-protocol.ts'
import * as groupRecords from '../../../protocol/messages/group-records.ts'
import { API_MESSAGES } from '../../../protocol/messages/index.ts'
import * as transactionRecords from '../../../protocol/messages/transaction-records.ts'
import type { Message } from '../../../protocol/schema.ts'

export const requestsAndResponses: readonly Message[] = [...API_MESSAGES.values()].flatMap((api) => [
  api.request,
  api.response,
])

export const recordMessages: readonly Message[] = [consumerProtocol, groupRecords, transactionRecords].flatMap(
  (file) => Object.values(file) as Message[],
)

export const allMessages: readonly Message[] = [...requestsAndResponses, ...recordMessages]

export function versionsOf(message: Message): number[] {
  const { first, last } = message.versions
  return Array.from({ length: last - first + 1 }, (_, i) => first + i)
}
