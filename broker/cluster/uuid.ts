// Ids of topics and of the cluster, in the form Kafka prints: a version 4 UUID as 22 characters of base64url. Pure.

import { Buffer } from 'node:buffer'
import type { Random } from '../environment.ts'

/** A fresh id; never one that begins with '-', which command lines take for a flag. */
export function newUuid(random: Pick<Random, 'bytes'>): string {
  for (;;) {
    const bytes = Uint8Array.from(random.bytes(16))
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
    const text = Buffer.from(bytes).toString('base64url')
    if (!text.startsWith('-')) return text
  }
}
