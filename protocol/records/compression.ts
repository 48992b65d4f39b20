// The four compression codecs of record batches, off the hot path: all work runs on libuv's thread pool.
//
// Used by produce validation when a topic wants another codec, by timestamp look-ups, the CLI, tests and benches. Each call
// names the most bytes it accepts; more is refused before memory is taken for it, so a small batch cannot be a bomb.
// compressedDefect() looks at the container (magic, block lengths, end) without decompressing: cheap enough for every batch.
//
// gzip and zstd come from Node's zlib, snappy and lz4 from npm packages loaded on first use. The Java client frames snappy
// blocks in a container of its own (snappy-java, "xerial"), librdkafka writes one bare block: both are read, the framed one is
// written. lz4 is the frame format; the library has one effort only, so compression.lz4.level changes nothing.

import { promisify } from 'node:util'
import { constants, gunzip, gzip, zstdCompress, zstdDecompress } from 'node:zlib'

/** Codec ids as in the attributes of a batch. */
export const Codec = { NONE: 0, GZIP: 1, SNAPPY: 2, LZ4: 3, ZSTD: 4 } as const
export type Codec = (typeof Codec)[keyof typeof Codec]

/** Names as in the config compression.type. */
export const CODEC_NAMES: readonly string[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

/** Codec of a name; 'uncompressed' is what topics call 'none'. */
export function codecByName(name: string): Codec | undefined {
  const id = name === 'uncompressed' ? 0 : CODEC_NAMES.indexOf(name)
  return isCodec(id) ? id : undefined
}

/** Whether an id read from attributes is a codec that exists. */
export function isCodec(id: number): id is Codec {
  return id >= 0 && id <= 4
}

export class CompressionError extends Error {
  /** corrupt: not what the codec says; too-large: more than the caller accepts; unavailable: no library on this machine. */
  readonly kind: 'corrupt' | 'too-large' | 'unavailable'

  constructor(kind: CompressionError['kind'], message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'CompressionError'
    this.kind = kind
  }
}

const gzipAsync = promisify<Uint8Array, object, Uint8Array>(gzip)
const gunzipAsync = promisify<Uint8Array, object, Uint8Array>(gunzip)
const zstdCompressAsync = promisify<Uint8Array, object, Uint8Array>(zstdCompress)
const zstdDecompressAsync = promisify<Uint8Array, object, Uint8Array>(zstdDecompress)

type SnappyLibrary = typeof import('snappy')
type Lz4Library = typeof import('lz4-napi')
let snappyLibrary: Promise<SnappyLibrary> | undefined
let lz4Library: Promise<Lz4Library> | undefined

function snappy(): Promise<SnappyLibrary> {
  snappyLibrary ??= load('snappy', import('snappy'))
  return snappyLibrary
}

function lz4(): Promise<Lz4Library> {
  lz4Library ??= load('lz4-napi', import('lz4-napi'))
  return lz4Library
}

async function load<Library>(name: string, loading: Promise<Library>): Promise<Library> {
  try {
    return await loading
  } catch (error) {
    throw new CompressionError('unavailable', `the package ${name} has no build for this machine`, error)
  }
}

/**
 * Compresses a payload.
 * @param bytes must stay unchanged until the promise resolves
 * @param level as the codec counts: gzip 1 to 9 or -1, zstd -131072 to 22; undefined takes the codec's default
 * @throws CompressionError of kind unavailable
 */
export async function compress(codec: Codec, bytes: Uint8Array, level?: number): Promise<Uint8Array> {
  const input = unshared(bytes)
  switch (codec) {
    case Codec.NONE:
      return input
    case Codec.GZIP:
      return gzipAsync(input, { level: level ?? constants.Z_DEFAULT_COMPRESSION })
    case Codec.SNAPPY:
      return compressSnappy(input)
    case Codec.LZ4:
      return (await lz4()).compressFrame(input)
    case Codec.ZSTD: {
      const params = { [constants.ZSTD_c_compressionLevel]: level ?? constants.ZSTD_CLEVEL_DEFAULT }
      return zstdCompressAsync(input, { params, pledgedSrcSize: input.length })
    }
  }
}

/**
 * Decompresses a payload.
 * @param bytes must stay unchanged until the promise resolves
 * @param maxBytes most bytes to accept; beyond it the call fails with kind too-large
 * @throws CompressionError
 */
export async function decompress(codec: Codec, bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const defect = compressedDefect(codec, bytes)
  if (defect !== undefined) throw new CompressionError('corrupt', defect)
  const input = unshared(bytes)
  switch (codec) {
    case Codec.NONE:
      if (input.length > maxBytes) throw tooLarge(maxBytes)
      return input
    case Codec.GZIP:
      return inflated(gunzipAsync(input, inflateOptions(input, maxBytes)), maxBytes)
    case Codec.SNAPPY:
      return decompressSnappy(input, maxBytes)
    case Codec.LZ4: {
      if (lz4Bytes(input, maxBytes) > maxBytes) throw tooLarge(maxBytes)
      const library = await lz4()
      return corruptUnless(library.decompressFrame(input))
    }
    case Codec.ZSTD:
      return inflated(zstdDecompressAsync(input, inflateOptions(input, maxBytes)), maxBytes)
  }
}

/**
 * What is wrong with the container of a compressed payload, seen without decompressing it: magic, flags, block lengths and the
 * end must fit the bytes. Catches garbage, wrong codec ids and what was cut; not a block whose inside is wrong.
 * @returns a constant sentence or undefined
 */
export function compressedDefect(codec: Codec, bytes: Uint8Array): string | undefined {
  switch (codec) {
    case Codec.NONE:
      return undefined
    case Codec.GZIP:
      return gzipDefect(bytes)
    case Codec.SNAPPY:
      return snappyDefect(bytes)
    case Codec.LZ4:
      return lz4Defect(bytes)
    case Codec.ZSTD:
      return zstdDefect(bytes)
  }
}

/** Native code must not see bytes that another thread may change under it. */
function unshared(bytes: Uint8Array): Uint8Array {
  return bytes.buffer instanceof SharedArrayBuffer ? new Uint8Array(bytes) : bytes
}

function tooLarge(maxBytes: number): CompressionError {
  return new CompressionError('too-large', `the records take more than ${maxBytes} bytes when decompressed`)
}

async function corruptUnless(working: Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return await working
  } catch (error) {
    throw new CompressionError('corrupt', 'the records cannot be decompressed', error)
  }
}

// ---- gzip and zstd: streaming decoders with a limit of their own -------------------------------------------------

function inflateOptions(input: Uint8Array, maxBytes: number): object {
  const chunkSize = Math.min(Math.max(input.length * 4, 16 << 10), 256 << 10, Math.max(maxBytes, 64))
  // At least 1, which zlib asks for; the empty answer then passes the limit 0 by its length.
  return { maxOutputLength: Math.max(maxBytes, 1), chunkSize }
}

async function inflated(working: Promise<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  try {
    const output = await working
    if (output.length > maxBytes) throw tooLarge(maxBytes)
    return output
  } catch (error) {
    if (error instanceof CompressionError) throw error
    if (error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(maxBytes)
    throw new CompressionError('corrupt', 'the records cannot be decompressed', error)
  }
}

/** RFC 1952: magic, method 8, no reserved flags, and room for header and trailer. */
function gzipDefect(bytes: Uint8Array): string | undefined {
  if (bytes.length < 18) return 'gzip data is cut off'
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b || bytes[2] !== 8) return 'not gzip data'
  return bytes[3]! > 0x1f ? 'gzip data has unknown flags' : undefined
}

/** RFC 8878: walks frames by their block headers. */
function zstdDefect(bytes: Uint8Array): string | undefined {
  let at = 0
  let frames = 0
  while (at < bytes.length) {
    if (bytes.length - at < 5) return 'zstd data is cut off'
    const magic = uint32Le(bytes, at)
    if (magic >>> 4 === 0x184d2a5) {
      if (bytes.length - at < 8) return 'zstd data is cut off'
      at += 8 + uint32Le(bytes, at + 4)
      if (at > bytes.length) return 'zstd data is cut off'
      continue
    }
    if (magic !== 0xfd2fb528) return 'not zstd data'
    const descriptor = bytes[at + 4]!
    if ((descriptor & 0x08) !== 0) return 'zstd data has unknown flags'
    const single = (descriptor & 0x20) !== 0
    const contentSizeBytes = descriptor >>> 6 === 0 ? (single ? 1 : 0) : 1 << (descriptor >>> 6)
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!
    at += 5 + (single ? 0 : 1) + dictionaryBytes + contentSizeBytes
    for (let last = false; !last; ) {
      if (bytes.length - at < 3) return 'zstd data is cut off'
      const header = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)
      const type = (header >>> 1) & 3
      if (type === 3) return 'zstd data has an unknown block type'
      last = (header & 1) === 1
      at += 3 + (type === 1 ? 1 : header >>> 3)
    }
    if ((descriptor & 0x04) !== 0) at += 4
    if (at > bytes.length) return 'zstd data is cut off'
    frames++
  }
  return frames === 0 ? 'no zstd data' : undefined
}

// ---- snappy: bare blocks, or blocks in the container of snappy-java -----------------------------------------------

/** 0x82 'SNAPPY' 0, then two int32: version and the oldest version that can read it. */
const XERIAL_MAGIC = Uint8Array.of(0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00)
const XERIAL_HEADER_BYTES = 16
/** Large blocks, since each is a trip to the thread pool. Readers take any size. */
const XERIAL_BLOCK_BYTES = 1 << 20
/** A copy element makes at most 64 bytes of 3, so nothing expands more than this. */
const SNAPPY_RATIO_MAX = 22

function isXerial(bytes: Uint8Array, at: number): boolean {
  if (bytes.length - at < XERIAL_HEADER_BYTES) return false
  for (let byte = 0; byte < XERIAL_MAGIC.length; byte++) if (bytes[at + byte] !== XERIAL_MAGIC[byte]) return false
  return true
}

/** Decompressed size a bare block claims, -1 when the claim cannot be true. */
function snappyBlockBytes(bytes: Uint8Array, start: number, end: number): number {
  let claimed = 0
  let scale = 1
  for (let at = start; at < end && at < start + 5; at++) {
    const byte = bytes[at]!
    claimed += (byte & 0x7f) * scale
    scale *= 128
    if (byte < 0x80) return claimed > (end - at - 1) * SNAPPY_RATIO_MAX || claimed > 0xffff_ffff ? -1 : claimed
  }
  return -1
}

/**
 * Whether the elements of a bare block make just the size it claims, each copy from what was made before it. Snappy has no
 * magic and no checksum, so this walk, which makes nothing, is what tells it from garbage: about 5 ns an element.
 */
function isSnappyBlock(bytes: Uint8Array, start: number, end: number): boolean {
  const claimed = snappyBlockBytes(bytes, start, end)
  if (claimed < 0) return false
  let at = start
  while (bytes[at++]! >= 0x80);
  let made = 0
  while (at < end) {
    const tag = bytes[at++]!
    const kind = tag & 3
    if (kind === 0) {
      let length = tag >>> 2
      if (length >= 60) {
        const extra = length - 59
        if (end - at < extra) return false
        length = 0
        for (let byte = extra - 1; byte >= 0; byte--) length = length * 256 + bytes[at + byte]!
        at += extra
      }
      at += length + 1
      made += length + 1
    } else {
      const offsetBytes = kind === 3 ? 4 : kind
      if (end - at < offsetBytes) return false
      let offset = kind === 1 ? tag >>> 5 : 0
      for (let byte = offsetBytes - 1; byte >= 0; byte--) offset = offset * 256 + bytes[at + byte]!
      if (offset === 0 || offset > made) return false
      at += offsetBytes
      made += kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1
    }
    if (made > claimed) return false
  }
  return at === end && made === claimed
}

function snappyDefect(bytes: Uint8Array): string | undefined {
  if (!isXerial(bytes, 0)) return isSnappyBlock(bytes, 0, bytes.length) ? undefined : 'not snappy data'
  let defect: string | undefined
  const walked = walkXerial(bytes, (start, end) => {
    if (!isSnappyBlock(bytes, start, end)) defect = 'a block is not snappy data'
  })
  return walked ? defect : 'snappy data is cut off'
}

/** Calls for each block; false when a length does not fit. Streams that were put one behind the other repeat the header. */
function walkXerial(bytes: Uint8Array, block: (start: number, end: number) => void): boolean {
  let at = XERIAL_HEADER_BYTES
  while (at < bytes.length) {
    if (isXerial(bytes, at)) {
      at += XERIAL_HEADER_BYTES
      continue
    }
    if (bytes.length - at < 4) return false
    const length = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
    if (length <= 0 || length > bytes.length - at - 4) return false
    block(at + 4, at + 4 + length)
    at += 4 + length
  }
  return true
}

async function decompressSnappy(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const library = await snappy()
  if (!isXerial(bytes, 0)) {
    if (snappyBlockBytes(bytes, 0, bytes.length) > maxBytes) throw tooLarge(maxBytes)
    return corruptUnless(library.uncompress(bytes, { asBuffer: true }).then(asBytes))
  }
  const blocks: Uint8Array[] = []
  let claimed = 0
  walkXerial(bytes, (start, end) => {
    claimed += snappyBlockBytes(bytes, start, end)
    blocks.push(bytes.subarray(start, end))
  })
  if (claimed > maxBytes) throw tooLarge(maxBytes)
  const parts: Uint8Array[] = []
  // One after the other: a batch of many small blocks must not take the whole thread pool.
  for (const block of blocks)
    parts.push(await corruptUnless(library.uncompress(block, { asBuffer: true }).then(asBytes)))
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

async function compressSnappy(bytes: Uint8Array): Promise<Uint8Array> {
  const library = await snappy()
  const parts: Uint8Array[] = [XERIAL_MAGIC, Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 1)]
  for (let at = 0; at < bytes.length; at += XERIAL_BLOCK_BYTES) {
    const block = await library.compress(bytes.subarray(at, at + XERIAL_BLOCK_BYTES))
    const length = block.length
    parts.push(Uint8Array.of(length >>> 24, length >>> 16, length >>> 8, length), block)
  }
  return Buffer.concat(parts)
}

function asBytes(output: string | Uint8Array): Uint8Array {
  return typeof output === 'string' ? Buffer.from(output, 'latin1') : output
}

// ---- lz4 frames -----------------------------------------------------------------------------------------------------

const LZ4_UNCOMPRESSED_BIT = 0x8000_0000

/** Where the blocks of a frame begin; -1 when the header is cut off. Content size and dictionary id may be in it. */
function lz4BlocksAt(bytes: Uint8Array): number {
  const flags = bytes[4]!
  const at = 7 + ((flags & 0x08) === 0 ? 0 : 8) + ((flags & 0x01) === 0 ? 0 : 4)
  return at > bytes.length ? -1 : at
}

/** Most bytes one block of this frame makes: 64 KiB, 256 KiB, 1 MiB or 4 MiB. */
function lz4BlockMax(bytes: Uint8Array): number {
  return 1 << (8 + 2 * (bytes[5]! >>> 4))
}

/** LZ4 frame format 1.6: walks the block headers up to the end mark. What follows it is ignored, as the Java client does. */
function lz4Defect(bytes: Uint8Array): string | undefined {
  if (bytes.length < 11) return 'lz4 data is cut off'
  if (uint32Le(bytes, 0) !== 0x184d2204) return 'not lz4 data'
  const flags = bytes[4]!
  if (flags >>> 6 !== 1 || (flags & 0x02) !== 0) return 'lz4 data has unknown flags'
  if ((bytes[5]! & 0x8f) !== 0 || bytes[5]! < 0x40) return 'lz4 data has an unknown block size'
  let at = lz4BlocksAt(bytes)
  if (at < 0) return 'lz4 data is cut off'
  const blockMax = lz4BlockMax(bytes)
  const checksumBytes = (flags & 0x10) === 0 ? 0 : 4
  for (;;) {
    if (bytes.length - at < 4) return 'lz4 data is cut off'
    const size = uint32Le(bytes, at) % LZ4_UNCOMPRESSED_BIT
    at += 4
    if (size === 0) break
    if (size > blockMax) return 'an lz4 block is longer than its frame allows'
    at += size + checksumBytes
    if (at > bytes.length) return 'lz4 data is cut off'
  }
  return (flags & 0x04) !== 0 && bytes.length - at < 4 ? 'lz4 data is cut off' : undefined
}

/**
 * Decompressed size of a frame, from the lengths in its sequences: nothing is copied. Blocks do not name their size, so this is
 * the only way to know before memory is taken.
 * @returns some number up to `enough` when that many bytes cannot be passed, else the size (or more than enough)
 */
function lz4Bytes(bytes: Uint8Array, enough: number): number {
  const blockMax = lz4BlockMax(bytes)
  const checksumBytes = (bytes[4]! & 0x10) === 0 ? 0 : 4
  const first = lz4BlocksAt(bytes)
  let blocks = 0
  for (
    let at = first, size = 0;
    (size = uint32Le(bytes, at) % LZ4_UNCOMPRESSED_BIT) > 0;
    at += 4 + size + checksumBytes
  )
    blocks++
  if (blocks * blockMax <= enough) return blocks * blockMax
  let total = 0
  for (let at = first; total <= enough; ) {
    const field = uint32Le(bytes, at)
    const size = field % LZ4_UNCOMPRESSED_BIT
    if (size === 0) break
    at += 4
    total += field >= LZ4_UNCOMPRESSED_BIT ? size : lz4BlockBytes(bytes, at, at + size)
    at += size + checksumBytes
  }
  return total
}

function lz4BlockBytes(bytes: Uint8Array, at: number, end: number): number {
  let total = 0
  while (at < end) {
    const token = bytes[at++]!
    let literals = token >>> 4
    if (literals === 15) {
      let byte = 255
      while (byte === 255 && at < end) literals += byte = bytes[at++]!
    }
    total += literals
    at += literals + 2
    // The last sequence has no match.
    if (at >= end) break
    let match = (token & 15) + 4
    if (match === 19) {
      let byte = 255
      while (byte === 255 && at < end) match += byte = bytes[at++]!
    }
    total += match
  }
  return total
}

function uint32Le(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}
