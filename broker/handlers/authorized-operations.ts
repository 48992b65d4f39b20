// What a client may do, as bits (1 << operation), where no authorizer is set: everything that exists for the resource.
//
// Source: Kafka's AclEntry.supportedOperations; READ 3, WRITE 4, CREATE 5, DELETE 6, ALTER 7, DESCRIBE 8, CLUSTER_ACTION 9,
// DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11, IDEMPOTENT_WRITE 12.

export const TOPIC_OPERATIONS = 3576
export const CLUSTER_OPERATIONS = 8096
export const GROUP_OPERATIONS = 3400
/** In answers to those who did not ask. */
export const OPERATIONS_NOT_ASKED = -0x8000_0000
