// What surrounds a message on the wire: the length of the frame, and the request and response headers.
//
// Pure functions over a reader or writer that the caller owns: any thread.

import { ApiKey, flexibleSince, isApiKey } from './api.ts'
import { MalformedFrame, type Reader } from './reader.ts'
import type { Writer } from './writer.ts'

/** A frame begins with its length in bytes as an int32, which does not count itself. */
export const FRAME_LENGTH_BYTES = 4

export interface RequestHeader {
  readonly apiKey: ApiKey
  readonly apiVersion: number
  readonly correlationId: number
  readonly clientId: string | null
}

/**
 * Reads the header of a request, whose layout hangs on its first two fields. The version may lie outside of what we
 * declare: the caller decides what to answer.
 * @throws MalformedFrame also for an api key that is not ours, since the header then cannot be read
 * Source: Kafka's RequestHeader.json, versions 1 and 2. The client id keeps its int16 length in both.
 */
export function readRequestHeader(reader: Reader): RequestHeader {
  const apiKey = reader.int16()
  if (!isApiKey(apiKey)) throw new MalformedFrame(`api key ${apiKey} is not known`, reader.position - 2)
  const apiVersion = reader.int16()
  const correlationId = reader.int32()
  const clientId = reader.nullableString()
  if (isFlexible(apiKey, apiVersion)) reader.skipTaggedFields()
  return { apiKey, apiVersion, correlationId, clientId }
}

export function writeRequestHeader(writer: Writer, header: RequestHeader): void {
  const { apiKey, apiVersion, correlationId, clientId } = header
  writer.int16(apiKey)
  writer.int16(apiVersion)
  writer.int32(correlationId)
  writer.nullableString(clientId)
  if (isFlexible(apiKey, apiVersion)) writer.uvarint(0)
}

/** Writes the header of the answer to a request of that key and version. */
export function writeResponseHeader(writer: Writer, apiKey: ApiKey, apiVersion: number, correlationId: number): void {
  writer.int32(correlationId)
  if (responseHeaderHasTags(apiKey, apiVersion)) writer.uvarint(0)
}

/**
 * Reads the header of the answer to a request of that key and version; returns the correlation id.
 * @throws MalformedFrame
 */
export function readResponseHeader(reader: Reader, apiKey: ApiKey, apiVersion: number): number {
  const correlationId = reader.int32()
  if (responseHeaderHasTags(apiKey, apiVersion)) reader.skipTaggedFields()
  return correlationId
}

/** Leaves room for the frame's length; call it on a new writer, before the header. */
export function beginFrame(writer: Writer): void {
  writer.int32(0)
}

/** Writes the frame's length in front and returns the frame in pieces, record bytes by reference. */
export function endFrame(writer: Writer): Uint8Array[] {
  writer.patchInt32(0, writer.byteLength - FRAME_LENGTH_BYTES)
  return writer.fragments()
}

function isFlexible(apiKey: ApiKey, apiVersion: number): boolean {
  return apiVersion >= flexibleSince(apiKey)
}

/** ApiVersions always answers with the oldest header: the client cannot know yet which versions we speak. */
function responseHeaderHasTags(apiKey: ApiKey, apiVersion: number): boolean {
  return apiKey !== ApiKey.ApiVersions && isFlexible(apiKey, apiVersion)
}
