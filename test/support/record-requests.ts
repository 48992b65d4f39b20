// Records what real clients send, as a starting point for fuzzing: `node test/support/record-requests.ts`
//
// Runs the client suites against a broker behind a proxy and keeps a few frames of each API and version that a client used, in
// test/fuzz/corpus/<client>.bin: whole request frames with their lengths in front, one after the other.

import { mkdirSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { KafkaBroker } from './kafka.ts'
import { freePort, repositoryDirectory, run } from './process.ts'

const framesPerVersionMax = 3
const frameBytesMax = 4096

const clients = [
  { name: 'kafkajs', suite: 'kafkajs.test.ts' },
  { name: 'platformatic', suite: 'platformatic.test.ts' },
  { name: 'librdkafka', suite: 'librdkafka.test.ts' },
  { name: 'java-tools', suite: 'java-tools.test.ts' },
]

/** Frames of the client at work, by API and version. */
let kept = new Map<string, Buffer[]>()

function keep(frame: Buffer): void {
  if (frame.length > frameBytesMax || frame.length < 14) return
  const key = `${frame.readInt16BE(4)}/${frame.readInt16BE(6)}`
  const frames = kept.get(key) ?? []
  kept.set(key, frames)
  if (frames.length < framesPerVersionMax && !frames.some((other) => other.length === frame.length))
    frames.push(Buffer.from(frame))
}

const proxyPort = await freePort()
const broker = await KafkaBroker.start({
  properties: { 'advertised.listeners': `PLAINTEXT://127.0.0.1:${proxyPort}` },
})
const proxy = createServer((client) => {
  const server = connect({ port: broker.port, host: '127.0.0.1', noDelay: true })
  client.on('error', () => server.destroy())
  server.on('error', () => client.destroy())
  server.pipe(client)
  let pending: Buffer = Buffer.alloc(0)
  client.on('data', (chunk: Buffer) => {
    server.write(chunk)
    pending = Buffer.concat([pending, chunk])
    while (pending.length >= 4) {
      const end = 4 + pending.readInt32BE(0)
      if (pending.length < end) break
      keep(pending.subarray(0, end))
      pending = pending.subarray(end)
    }
  })
  client.on('end', () => server.end())
})
await new Promise<void>((resolve) => proxy.listen(proxyPort, '127.0.0.1', resolve))

const corpus = join(repositoryDirectory, 'test/fuzz/corpus')
mkdirSync(corpus, { recursive: true })
for (const { name, suite } of clients) {
  kept = new Map()
  const env = { ...process.env, MILLRACE_TEST_BOOTSTRAP: `127.0.0.1:${proxyPort}`, MILLRACE_REQUIRE_CLIENTS: '1' }
  const args = ['--test', join(repositoryDirectory, 'test/clients', suite)]
  const { code, stdout } = await run(process.execPath, args, { env, timeoutMs: 600_000 })
  if (code !== 0) console.error(`${suite} ended with ${code}\n${stdout.slice(-3000)}`)
  const frames = [...kept.values()].flat()
  writeFileSync(join(corpus, `${name}.bin`), Buffer.concat(frames))
  console.log(`${name}: ${frames.length} frames of ${kept.size} API versions`)
}
proxy.close()
await broker.close()
process.exit(0)
