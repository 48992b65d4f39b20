import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import {
  Codec,
  CompressionError,
  codecByName,
  compress,
  compressedDefect,
  decompress,
} from '../../../../protocol/records/compression.ts'
import { seeded, vectorPayload, vectors } from './vectors.ts'

const codecs: [string, Codec][] = [
  ['none', Codec.NONE],
  ['gzip', Codec.GZIP],
  ['snappy', Codec.SNAPPY],
  ['lz4', Codec.LZ4],
  ['zstd', Codec.ZSTD],
]

const foreign: [keyof typeof vectors, Codec][] = [
  ['gzip', Codec.GZIP],
  ['snappyRaw', Codec.SNAPPY],
  ['snappyXerial', Codec.SNAPPY],
  ['lz4Java', Codec.LZ4],
  ['lz4Checksums', Codec.LZ4],
  ['lz4Linked', Codec.LZ4],
  ['zstdStream', Codec.ZSTD],
  ['zstdSized', Codec.ZSTD],
]

const kind = (wanted: CompressionError['kind']) => (error: unknown) =>
  error instanceof CompressionError && error.kind === wanted

for (const [name, codec] of foreign) {
  test(`what another implementation compressed is read: ${name}`, async () => {
    const bytes = Buffer.from(vectors[name], 'hex')
    assert.deepEqual(Buffer.from(await decompress(codec, bytes, vectorPayload.length)), vectorPayload)
  })

  test(`one byte over the limit is refused: ${name}`, async () => {
    const bytes = Buffer.from(vectors[name], 'hex')
    await assert.rejects(decompress(codec, bytes, vectorPayload.length - 1), kind('too-large'))
  })

  test(`what is cut off at any place is refused: ${name}`, async () => {
    const bytes = Buffer.from(vectors[name], 'hex')
    for (let end = 0; end < bytes.length; end++) {
      // The framed snappy has no end mark: cut between blocks it is whole, and the record count must tell.
      if (name === 'snappyXerial' && xerialBlockEnds(bytes).includes(end)) continue
      await assert.rejects(
        decompress(codec, bytes.subarray(0, end), 1 << 20),
        (error) => error instanceof CompressionError,
        `${end} of ${bytes.length} bytes`,
      )
    }
  })
}

test('several frames or streams one behind the other are read as one', async () => {
  const twice = Buffer.concat([vectorPayload, vectorPayload])
  for (const name of ['gzip', 'snappyXerial', 'zstdSized'] as const) {
    const codec = foreign.find(([known]) => known === name)![1]
    const bytes = Buffer.from(vectors[name] + vectors[name], 'hex')
    assert.deepEqual(Buffer.from(await decompress(codec, bytes, twice.length)), twice, name)
  }
})

for (const [name, codec] of codecs) {
  test(`what is compressed comes back, empty to megabytes, from shared memory too: ${name}`, async () => {
    const random = seeded(codec + 1)
    for (const length of [0, 1, 100, 65_536, 300_000, 2_500_000]) {
      const noise = new Uint8Array(new SharedArrayBuffer(length))
      for (let at = 0; at < length; at++) noise[at] = random() < 0.5 ? 65 : random() * 256
      const packed = await compress(codec, noise)
      assert.equal(compressedDefect(codec, packed), undefined, `${length} bytes`)
      assert.ok(Buffer.from(noise).equals(await decompress(codec, packed, length)), `${length} bytes`)
    }
  })

  test(`a name finds its codec: ${name}`, () => {
    assert.equal(codecByName(name), codec)
  })
}

test('uncompressed is none, and unknown names have no codec', () => {
  assert.equal(codecByName('uncompressed'), Codec.NONE)
  assert.equal(codecByName('producer'), undefined)
})

test('levels change the effort', async () => {
  const random = seeded(9)
  const words = Array.from({ length: 50 }, () => Math.floor(random() * 1e9).toString(36))
  const text = Buffer.from(Array.from({ length: 20_000 }, () => words[Math.floor(random() ** 2 * 50)]).join(' '))
  for (const [codec, low, high] of [
    [Codec.GZIP, 1, 9],
    [Codec.ZSTD, -20, 15],
  ] as const) {
    const fast = await compress(codec, text, low)
    const small = await compress(codec, text, high)
    assert.ok(small.length < fast.length, `${small.length} < ${fast.length}`)
    assert.ok(text.equals(await decompress(codec, small, text.length)))
  }
})

test('bombs are refused with every codec', async () => {
  const zeros = new Uint8Array(50_000_000)
  for (const [name, codec] of codecs.slice(1)) {
    const bomb = await compress(codec, zeros)
    assert.ok(bomb.length < 3_000_000, name)
    await assert.rejects(decompress(codec, bomb, 1_000_000), kind('too-large'), name)
  }
})

test('an lz4 frame that is under the limit only by count of its sequences is accepted', async () => {
  // One small block in a frame of 4 MiB blocks: the block could be larger than the limit, but is not.
  const packed = await compress(Codec.LZ4, new Uint8Array(1_500_000).fill(1))
  assert.equal(packed[5]! >> 4, 7)
  assert.equal((await decompress(Codec.LZ4, packed, 1_500_000)).length, 1_500_000)
  await assert.rejects(decompress(Codec.LZ4, packed, 1_499_999), kind('too-large'))
})

test('the container of another codec, noise and text are defects', () => {
  const noises = [Buffer.alloc(100, 0xff), Buffer.alloc(100), Buffer.from('just some text, long enough to be a header')]
  for (const [name, codec] of codecs.slice(1)) {
    for (const noise of noises) {
      // A bare snappy block has no magic: zeros are an empty block with elements behind it, found when decompressing.
      if (codec === Codec.SNAPPY && noise[0] === 0) continue
      if (codec === Codec.SNAPPY && noise[0] === 0x6a) continue
      assert.notEqual(compressedDefect(codec, noise), undefined, name)
    }
  }
  assert.notEqual(compressedDefect(Codec.ZSTD, Buffer.from(vectors.gzip, 'hex')), undefined)
  assert.notEqual(compressedDefect(Codec.LZ4, Buffer.from(vectors.zstdSized, 'hex')), undefined)
  assert.notEqual(compressedDefect(Codec.GZIP, Buffer.from(vectors.lz4Java, 'hex')), undefined)
})

test('a snappy block that claims more than it can hold is refused without taking the memory', async () => {
  // Claims 0xffffffff bytes.
  const claim = Buffer.from('ffffffff0f00', 'hex')
  await assert.rejects(decompress(Codec.SNAPPY, claim, 2 ** 32), kind('corrupt'))
})

test('mutated data ends in bytes within the limit or in a CompressionError, with every codec', async () => {
  const random = seeded(77)
  for (const [name, codec] of foreign) {
    const good = Buffer.from(vectors[name], 'hex')
    for (let round = 0; round < 150; round++) {
      const bad = Buffer.from(good)
      for (let flips = 1 + random() * 3; flips > 0; flips--) bad[Math.floor(random() * bad.length)] = random() * 256
      try {
        assert.ok((await decompress(codec, bad, 20_000)).length <= 20_000)
      } catch (error) {
        assert.ok(error instanceof CompressionError, `${name}: ${error}`)
      }
    }
  }
})

test('gzip with flags, name and comment is read', async () => {
  const plain = gzipSync(vectorPayload)
  const named = Buffer.concat([plain.subarray(0, 10), Buffer.from('name\0'), plain.subarray(10)])
  named[3] = 8
  assert.deepEqual(Buffer.from(await decompress(Codec.GZIP, named, 10_000)), vectorPayload)
})

function xerialBlockEnds(bytes: Buffer): number[] {
  const ends = [16]
  for (let at = 16; at < bytes.length; ) ends.push((at += 4 + bytes.readInt32BE(at)))
  return ends
}
