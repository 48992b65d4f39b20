// A shard without partitions, for tests of the handlers that answer from the metadata image. What is asked of the controller
// travels encoded, as between real shards, and so does every answer.

import type { Api, CallContext } from '../../../../broker/handlers/api.ts'
import { StrandedClients } from '../../../../broker/handlers/stranded-clients.ts'
import { LogThreshold } from '../../../../broker/observe/log-level.ts'
import type { ShardContext } from '../../../../broker/shard/context.ts'
import { decoder, encoder } from '../../../../protocol/compile.ts'
import { Reader } from '../../../../protocol/reader.ts'
import type { Input, Message, Value } from '../../../../protocol/schema.ts'
import { Writer } from '../../../../protocol/writer.ts'
import { type Fixture, fixture, silent } from '../cluster/fixture.ts'

export function call(apiKey: number, version: number): CallContext {
  return {
    apiKey,
    version,
    clientId: 'test',
    clientHost: '/127.0.0.1',
    principal: 'User:ANONYMOUS',
    listenerName: 'PLAINTEXT',
    connectionId: 1,
  }
}

/** What the other side reads when this value is written in that version. */
export function travel<F extends Message['fields']>(message: Message<F>, version: number, value: Input<F>): Value<F> {
  const writer = new Writer()
  encoder(message, version)(writer, value)
  return decoder(message, version)(new Reader(writer.toBytes()))
}

export interface HandlerFixture extends Fixture {
  readonly shard: ShardContext
  /** In its cluster; undefined: the controller when the image says so. */
  readonly standing: { isCutOff: boolean; isController: boolean | undefined }
  /** Sends a request in a version and gives the answer as the client reads it. */
  send<Req, Res>(api: Api<Req, Res>, version: number, request: Req): Promise<Res>
}

export function handlerFixture(settings: Record<string, string> = {}, brokers = 1): HandlerFixture {
  const made = fixture(settings, brokers)
  const standing: HandlerFixture['standing'] = { isCutOff: false, isController: undefined }
  const threshold = LogThreshold.at('WARN')
  const shard = {
    shardId: 1,
    shardCount: 2,
    config: made.config,
    environment: { clock: made.clock, logger: { ...silent, threshold } },
    image: made.image,
    controller: undefined,
    async ask<Req, Res>(to: number, api: Api<Req, Res>, context: CallContext, request: Req): Promise<Res> {
      if (to !== 0 || api.serve === undefined) throw new Error('only shard 0 serves here')
      const read = travel(api.request, context.version, request as Input<Message['fields']>) as Req
      const served = { ...shard, shardId: 0, controller: made.controller } as unknown as ShardContext
      const answer = await api.serve(served, context, read)
      return travel(api.response, context.version, answer as Input<Message['fields']>) as Res
    },
    askController<Req, Res>(api: Api<Req, Res>, context: CallContext, request: Req): Promise<Res> {
      return shard.ask(0, api, context, request)
    },
    isAlive: (nodeId: number) => made.alive(nodeId),
    whenFresh: () => undefined,
    strandedClients: new StrandedClients(),
    get isCutOff() {
      return standing.isCutOff
    },
    get isController() {
      return standing.isController ?? made.image.controllerId === made.config.nodeId
    },
  } as unknown as ShardContext
  return {
    ...made,
    shard,
    standing,
    async send(api, version, request) {
      const read = travel(api.request, version, request as Input<Message['fields']>)
      const answer = await api.handle(shard, call(api.request.apiKey, version), read as typeof request)
      return travel(api.response, version, answer as Input<Message['fields']>) as never
    },
  }
}
