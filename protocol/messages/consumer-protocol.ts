// What consumers of classic groups put into the opaque bytes of JoinGroup and SyncGroup.
//
// The bytes begin with an int16, the version, which the caller reads or writes. Brokers need them to describe groups and to
// convert groups between protocols; readers of a newer version take the layout of the newest they know. Declarations
// only, made once at load: any thread.

import { array, bytes, int32, message, nullable, since, string, type Value, withDefault } from '../schema.ts'

/** What a consumer tells about itself in JoinGroup metadata. */
export const ConsumerProtocolSubscription = message(
  'ConsumerProtocolSubscription',
  { versions: '0-3', flexible: 'none' },
  {
    topics: array(string),
    userData: withDefault(nullable(bytes), null),
    ownedPartitions: since(
      '1+',
      array({
        topic: string,
        partitions: array(int32),
      }),
    ),
    generationId: since('2+', int32, -1),
    rackId: since('3+', nullable(string), null),
  },
)
export type ConsumerProtocolSubscription = Value<typeof ConsumerProtocolSubscription.fields>

/** What the leader gives a consumer in a SyncGroup assignment. */
export const ConsumerProtocolAssignment = message(
  'ConsumerProtocolAssignment',
  { versions: '0-3', flexible: 'none' },
  {
    assignedPartitions: array({
      topic: string,
      partitions: array(int32),
    }),
    userData: withDefault(nullable(bytes), null),
  },
)
export type ConsumerProtocolAssignment = Value<typeof ConsumerProtocolAssignment.fields>
