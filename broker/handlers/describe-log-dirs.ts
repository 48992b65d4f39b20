// DescribeLogDirs: the data directory, its room, and what each replica here takes of it.

import { ErrorCode } from '../../protocol/errors.ts'
import { DescribeLogDirsRequest, DescribeLogDirsResponse } from '../../protocol/messages/describe-log-dirs.ts'
import type { Input } from '../../protocol/schema.ts'
import type { Api } from './api.ts'
import { isHosted } from './brokers.ts'
import { byTopic, ownPartition, type PartitionItem, perOwner } from './per-partition.ts'

type Response = Input<typeof DescribeLogDirsResponse.fields>

interface Answer {
  readonly partitionIndex: number
  readonly partitionSize: number
  readonly offsetLag: number
  readonly isFutureKey: boolean
}

export const describeLogDirs: Api<DescribeLogDirsRequest, Response> = {
  request: DescribeLogDirsRequest,
  response: DescribeLogDirsResponse,
  async handle(shard, call, request) {
    const asked =
      request.topics ??
      [...shard.image.topics()].map((topic) => ({
        topic: topic.name,
        partitions: topic.partitions.map(({ partition }) => partition),
      }))
    const isHere = (topic: string, partition: number): boolean => {
      const image = shard.image.topicByName(topic)?.partitions[partition]
      return image !== undefined && isHosted(shard, image)
    }
    const items: PartitionItem[] = asked.flatMap(({ topic, partitions }) =>
      partitions.filter((partition) => isHere(topic, partition)).map((partition) => ({ topic, partition })),
    )
    const answers = await perOwner<PartitionItem, Answer>(shard, items, missing, async (owner, part) => {
      const topics = part.map(({ topic, partition }) => ({ topic, partitions: [partition] }))
      const response = await shard.ask(owner, describeLogDirs, call, { topics })
      return response.results.flatMap((result) =>
        result.topics.flatMap(({ partitions }) => partitions as readonly Answer[]),
      )
    })
    const { dataDirectory } = shard.config
    const space = await shard.environment.disk.freeSpace(dataDirectory)
    return {
      throttleTimeMs: 0,
      errorCode: ErrorCode.NONE,
      results: [
        {
          errorCode: ErrorCode.NONE,
          logDir: dataDirectory,
          topics: byTopic(items, answers).map(({ topic, answers }) => ({ name: topic, partitions: answers })),
          totalBytes: space.totalBytes,
          usableBytes: space.freeBytes,
          isCordoned: false,
        },
      ],
    }
  },
  serve(shard, _call, request) {
    const topics = (request.topics ?? []).map(({ topic, partitions }) => ({
      name: topic,
      partitions: partitions.map((partitionIndex) => {
        const partition = ownPartition(shard, topic, partitionIndex)
        return { partitionIndex, partitionSize: partition?.log.sizeBytes ?? 0, offsetLag: 0, isFutureKey: false }
      }),
    }))
    return {
      throttleTimeMs: 0,
      errorCode: ErrorCode.NONE,
      results: [{ errorCode: ErrorCode.NONE, logDir: '', topics, totalBytes: -1, usableBytes: -1, isCordoned: false }],
    }
  },
}

function missing({ partition }: PartitionItem): Answer {
  return { partitionIndex: partition, partitionSize: 0, offsetLag: 0, isFutureKey: false }
}
