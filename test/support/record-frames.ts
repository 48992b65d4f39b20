// Records what real clients send, for the fuzzer of the request decoders: node test/support/record-frames.ts [client ...]
//
// A proxy stands between the client and a Millrace that tells clients the proxy's address, so that every connection passes
// through it. Of each API and version the first frames are kept and added to test/fuzz/corpus/<client>.bin unless it has as
// many already: frame after frame, each with its length in front, as one connection would send them.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { Admin, Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import kafkajs from 'kafkajs'
import { spawnMillrace } from './broker.ts'
import { type KafkaTool, kafkaTool, kafkaUnavailable } from './kafka.ts'
import { freePort, hasProgram, removeDirectory, repositoryDirectory, run, temporaryDirectory } from './process.ts'
import { librdkafka, librdkafkaUnavailable } from './python.ts'

const corpusDirectory = join(repositoryDirectory, 'test/fuzz/corpus')
const fileOf = (client: string) => join(corpusDirectory, `${client}.bin`)
/** Of one API and version; more of the same adds little. */
const FRAMES_PER_VERSION = 3
/** Larger frames are batches of records, which the decoders under test only pass on. */
const FRAME_BYTES_MAX = 4096
const FILE_BYTES_MAX = 60_000

/** The whole frames at the head of `bytes`, lengths included. */
function wholeFrames(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = []
  for (let at = 0; bytes.length - at >= 4; ) {
    const end = at + 4 + bytes.readInt32BE(at)
    if (end > bytes.length) break
    frames.push(bytes.subarray(at, end))
    at = end
  }
  return frames
}

/** Takes whole frames out of what the clients send. */
class Recorder {
  #frames: Buffer[] = []
  #bytes = 0
  readonly #counts = new Map<string, number>()
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  constructor(brokerPort: number) {
    this.#server = createServer((client) => {
      const broker = connect(brokerPort, '127.0.0.1')
      let pending = Buffer.alloc(0)
      client.on('data', (chunk: Buffer) => {
        pending = this.#take(Buffer.concat([pending, chunk]))
      })
      client.pipe(broker)
      broker.pipe(client)
      for (const socket of [client, broker]) {
        this.#sockets.add(socket)
        socket.on('error', () => socket.destroy())
        socket.on('close', () => {
          this.#sockets.delete(socket)
          client.destroy()
          broker.destroy()
        })
      }
    })
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve))
  }

  #take(bytes: Buffer): Buffer<ArrayBuffer> {
    const frames = wholeFrames(bytes)
    for (const frame of frames) this.#keep(frame)
    return Buffer.from(bytes.subarray(frames.reduce((sum, frame) => sum + frame.length, 0)))
  }

  #keep(frame: Buffer): void {
    const version = `${frame.readInt16BE(4)}/${frame.readInt16BE(6)}`
    const count = this.#counts.get(version) ?? 0
    if (count === FRAMES_PER_VERSION || frame.length > FRAME_BYTES_MAX) return
    if (this.#bytes + frame.length > FILE_BYTES_MAX) return
    this.#counts.set(version, count + 1)
    this.#frames.push(Buffer.from(frame))
    this.#bytes += frame.length
  }

  /** From here on the frames of this client come, on top of those its file holds. */
  begin(client: string): void {
    this.#frames = []
    this.#bytes = 0
    this.#counts.clear()
    const file = fileOf(client)
    if (existsSync(file)) for (const frame of wholeFrames(readFileSync(file))) this.#keep(frame)
  }

  write(client: string): void {
    mkdirSync(corpusDirectory, { recursive: true })
    writeFileSync(fileOf(client), Buffer.concat(this.#frames))
    console.log(`${client}: ${this.#frames.length} frames of ${this.#counts.size} versions, ${this.#bytes} bytes`)
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
  }
}

async function playKafkajs(bootstrap: string): Promise<void> {
  const { ConfigResourceTypes, Kafka, logLevel, Partitioners, CompressionTypes } = kafkajs
  const kafka = new Kafka({ clientId: 'recorded', brokers: [bootstrap], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  const topic = 'recorded-kafkajs'
  await admin.createTopics({
    topics: [{ topic, numPartitions: 2, configEntries: [{ name: 'retention.ms', value: '1000000' }] }],
  })
  for (const idempotent of [false, true]) {
    const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent })
    await producer.connect()
    const messages = ['a', 'b', 'c'].map((value) => ({ key: value, value, headers: { header: 'text' } }))
    await producer.send({ topic, messages })
    await producer.send({ topic, messages, compression: CompressionTypes.GZIP })
    await producer.disconnect()
  }
  const consumer = kafka.consumer({ groupId: 'recorded-kafkajs' })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise<void>((resolve, reject) => {
    let left = 12
    consumer
      .run({
        eachMessage: async () => {
          if (--left === 0) resolve()
        },
      })
      .catch(reject)
  })
  await admin.describeGroups(['recorded-kafkajs'])
  await consumer.disconnect()
  const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic }]
  await admin.describeConfigs({ resources, includeSynonyms: true })
  await admin.alterConfigs({
    validateOnly: true,
    resources: [
      { type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '2000000' }] },
    ],
  })
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  await admin.fetchTopicOffsets(topic)
  await admin.fetchTopicOffsetsByTimestamp(topic, Date.now() - 60_000)
  await admin.fetchOffsets({ groupId: 'recorded-kafkajs', topics: [topic] })
  await admin.setOffsets({ groupId: 'recorded-kafkajs', topic, partitions: [{ partition: 0, offset: '1' }] })
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '-1' }] })
  await admin.listGroups()
  await admin.describeCluster()
  await admin.deleteGroups(['recorded-kafkajs'])
  await admin.deleteTopics({ topics: [topic] })
  await admin.disconnect()
}

async function playPlatformatic(bootstrap: string): Promise<void> {
  const topic = 'recorded-platformatic'
  const groupId = topic
  const bootstrapBrokers = [bootstrap]
  const admin = new Admin({ clientId: 'recorded', bootstrapBrokers })
  await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1 })
  for (const options of [{}, { idempotent: true }, { compression: 'gzip' as const }]) {
    const producer = new Producer({
      clientId: 'recorded',
      bootstrapBrokers,
      serializers: stringSerializers,
      ...options,
    })
    await producer.send({ messages: ['a', 'b', 'c'].map((value) => ({ topic, key: value, value })) })
    await producer.close()
  }
  const consumer = new Consumer({ clientId: 'recorded', groupId, bootstrapBrokers, deserializers: stringDeserializers })
  const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false, maxWaitTime: 100 })
  let left = 9
  for await (const message of stream) {
    await message.commit()
    if (--left === 0) break
  }
  await admin.describeGroups({ groups: [groupId] })
  await consumer.close(true)
  await admin.listGroups()
  await admin.metadata({ topics: [topic] })
  await admin.deleteGroups({ groups: [groupId] })
  await admin.deleteTopics({ topics: [topic] })
  await admin.close()
}

async function playLibrdkafka(bootstrap: string): Promise<void> {
  await librdkafka(['admin', bootstrap, 'recorded-admin'])
  await librdkafka(['produce', bootstrap, 'recorded-librdkafka', '50', 'enable.idempotence=true'])
  await librdkafka(['produce', bootstrap, 'recorded-librdkafka', '50', 'compression.type=zstd', 'acks=1'])
  await librdkafka(['consume', bootstrap, 'recorded-librdkafka', '100', 'recorded-librdkafka'])
  await librdkafka(['committed', bootstrap, 'recorded-librdkafka', 'recorded-librdkafka'])
}

async function playKcat(bootstrap: string): Promise<void> {
  const kcat = async (args: string[], input = '') => {
    const result = await run('kcat', ['-b', bootstrap, ...args], { input, timeoutMs: 30_000 })
    if (result.code !== 0) throw new Error(`kcat ${args.join(' ')}: ${result.stderr}`)
  }
  const topic = 'recorded-kcat'
  await kcat(['-P', '-t', topic, '-K:', '-H', 'header=text'], 'k1:one\nk2:two\nk3:three\n')
  await kcat(['-P', '-t', topic, '-z', 'lz4', '-X', 'acks=0'], 'four\n')
  await kcat(['-C', '-t', topic, '-o', 'beginning', '-e'])
  await kcat(['-C', '-t', topic, '-o', 's@1000', '-e', '-X', 'isolation.level=read_committed'])
  await kcat(['-G', topic, '-c', '3', '-X', 'auto.offset.reset=earliest', topic])
  await kcat(['-L'])
  await kcat(['-Q', '-t', `${topic}:0:-1`])
}

async function playJava(bootstrap: string): Promise<void> {
  const tool = async (name: KafkaTool, args: string[], input?: string) => {
    const result = await kafkaTool(name, ['--bootstrap-server', bootstrap, ...args], { input, timeoutMs: 60_000 })
    if (result.code !== 0) throw new Error(`kafka-${name} ${args.join(' ')}\n${result.stdout}${result.stderr}`)
  }
  const topic = ['--topic', 'recorded-java']
  const group = ['--group', 'recorded-java']
  await tool('topics', ['--create', ...topic, '--partitions', '2', '--config', 'retention.ms=1000000'])
  await tool('topics', ['--alter', ...topic, '--partitions', '3'])
  await tool('topics', ['--describe', ...topic])
  await tool('console-producer', topic, 'one\ntwo\nthree\n')
  await tool('console-consumer', [...topic, ...group, '--from-beginning', '--max-messages', '3'])
  await tool('consumer-groups', ['--describe', ...group])
  await tool('consumer-groups', ['--list', '--state'])
  await tool('consumer-groups', ['--reset-offsets', ...group, ...topic, '--to-earliest', '--execute'])
  await tool('consumer-groups', ['--delete-offsets', ...group, ...topic])
  await tool('consumer-groups', ['--delete', ...group])
  await tool('configs', [
    '--alter',
    '--entity-type',
    'topics',
    '--entity-name',
    'recorded-java',
    '--add-config',
    'segment.ms=60000',
  ])
  await tool('configs', ['--describe', '--entity-type', 'topics', '--entity-name', 'recorded-java'])
  await tool('get-offsets', topic)
  await tool('log-dirs', ['--describe'])
  await tool('topics', ['--delete', ...topic])
}

const clients: Readonly<
  Record<string, { play: (bootstrap: string) => Promise<void>; missing: () => Promise<string | undefined> }>
> = {
  kafkajs: { play: playKafkajs, missing: async () => undefined },
  platformatic: { play: playPlatformatic, missing: async () => undefined },
  librdkafka: { play: playLibrdkafka, missing: async () => librdkafkaUnavailable() },
  kcat: { play: playKcat, missing: async () => ((await hasProgram('kcat', ['-V'])) ? undefined : 'kcat is missing') },
  'java-tools': { play: playJava, missing: kafkaUnavailable },
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(clients)
const port = await freePort()
const proxyPort = await freePort()
const dataDir = await temporaryDirectory('recorded')
const broker = spawnMillrace(port, dataDir, {
  shards: 2,
  memory: '256m',
  properties: {
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${proxyPort}`,
    'group.initial.rebalance.delay.ms': '0',
  },
})
await broker.waitFor(/listening on/, 30_000)
const recorder = new Recorder(port)
await recorder.listen(proxyPort)
let failed = false
for (const name of wanted) {
  const client = clients[name]
  const reason = client === undefined ? `nobody knows a client '${name}'` : await client.missing()
  if (client === undefined || reason !== undefined) {
    console.error(reason)
    failed = true
    continue
  }
  recorder.begin(name)
  try {
    await client.play(`127.0.0.1:${proxyPort}`)
  } catch (error) {
    console.error(`${name} did not get to its end`, error)
    failed = true
  }
  recorder.write(name)
}
recorder.close()
await broker.stop()
removeDirectory(dataDir)
process.exit(failed ? 1 : 0)
