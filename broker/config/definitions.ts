// Every broker config this broker knows: one row each, read once per thread.
//
// Columns: name | type | default | valid values | when it can change | what it does here | documentation.
// Names, types, defaults and valid values are those of Kafka 4.3 (AbstractKafkaConfig, DynamicBrokerConfig), except where a
// broker without any settings has to work: node.id 1, process.roles, listeners on 127.0.0.1 only, log.dir `data`.
// `acts` configs change what this broker does; `stored` ones are accepted, checked and reported, and have no effect yet.

import type { Check, ConfigDefinition, ConfigType } from './values.ts'
import { gzipLevel, listOf, nonEmptyString, oneOf, oneOfAnyCase, range } from './values.ts'

/** 'read-only' needs a restart; 'per-broker' changes for one broker; 'cluster' for one broker or for all. */
export type DynamicScope = 'read-only' | 'per-broker' | 'cluster'

export interface BrokerConfigDefinition extends ConfigDefinition {
  readonly scope: DynamicScope
  /** False: accepted, checked and reported, without effect. */
  readonly acts: boolean
  /** False: DescribeConfigs lists it only where it is set. */
  readonly isListedUnset: boolean
}

/** Kafka has these as run-time configs only; without a value they are no configs of a broker, and nothing is limited. */
const LISTED_WHEN_SET: readonly string[] = [
  'follower.replication.throttled.rate',
  'leader.replication.throttled.rate',
  'replica.alter.log.dirs.io.max.bytes.per.second',
]

const TABLE = `
# Identity, listeners
node.id | int | 1 | [0,...] | read-only | acts | Number of this broker in the cluster.
broker.id | int | -1 | - | read-only | acts | Older name of node.id, used when node.id is not set.
process.roles | list | broker,controller | [broker, controller] | read-only | stored | Roles of the process; every node here is broker and controller in one.
millrace.broker.draining | boolean | false | - | per-broker | acts | Set for a broker that is to leave: its leaderships and replicas move to the others.
broker.rack | string | null | - | read-only | acts | Rack or zone of this broker, told to clients; replicas of a partition are spread over racks.
listeners | list | PLAINTEXT://127.0.0.1:9092 | - | per-broker | acts | Addresses to listen on, NAME://host:port; an empty host means every interface.
advertised.listeners | list | null | - | read-only | acts | Addresses told to clients when they differ from listeners.
millrace.peer.listener | string | null | - | read-only | acts | host:port where other brokers of the cluster reach this one; without it the broker is alone.
millrace.drain.partitions.max | int | 20 | [1,...] | cluster | acts | Most partitions that move at a time while a broker is drained or __consumer_offsets gets more replicas.
millrace.seeds | list | (empty) | - | read-only | acts | host:port of peer listeners, tried by a broker that has no cluster yet.
listener.security.protocol.map | string | SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT | - | per-broker | acts | Security protocol of each listener name.
inter.broker.listener.name | string | null | - | read-only | stored | Listener that brokers use among themselves.
security.inter.broker.protocol | string | PLAINTEXT | [PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL] | read-only | stored | Security protocol between brokers.
controller.listener.names | list | null | - | read-only | acts | Listener names meant for Kafka controllers; they are not opened.
controller.quorum.voters | list | (empty) | - | read-only | stored | Voters of Kafka's controller quorum.
controller.quorum.bootstrap.servers | list | (empty) | - | read-only | stored | Bootstrap addresses of Kafka's controller quorum.
early.start.listeners | list | null | - | read-only | stored | Listeners opened before the others.

# Topics, replication
auto.create.topics.enable | boolean | true | - | read-only | acts | Whether a Metadata request may create the topics it names.
num.partitions | int | 1 | [1,...] | read-only | acts | Partitions of a topic created without a count.
default.replication.factor | int | 1 | - | read-only | acts | Replicas of a topic created without a factor.
min.insync.replicas | int | 1 | [1,...] | cluster | acts | Replicas that must hold a record before acks=all is answered, never more than the topic has.
delete.topic.enable | boolean | true | - | read-only | acts | Whether topics can be deleted.
unclean.leader.election.enable | boolean | false | - | cluster | stored | Whether a replica that lacks acknowledged records may lead; never needed here.
auto.leader.rebalance.enable | boolean | true | - | read-only | acts | Whether leadership moves back to preferred replicas by itself.
leader.imbalance.check.interval.seconds | long | 300 | [1,...] | read-only | stored | How often the leader balance is looked at.
replica.lag.time.max.ms | long | 30000 | - | read-only | acts | How long a follower may lag before it leaves the in-sync set.
replica.fetch.max.bytes | int | 1048576 | [0,...] | read-only | stored | Bytes a follower asks for per partition.
replica.fetch.wait.max.ms | int | 500 | - | read-only | stored | How long a follower's fetch waits.
replica.selector.class | string | null | - | read-only | acts | Class that picks the replica a consumer reads from: org.apache.kafka.common.replica.RackAwareReplicaSelector, or none for the leader.
num.replica.fetchers | int | 1 | [1,...] | cluster | stored | Fetcher threads per source broker.
create.topic.policy.class.name | class | null | - | read-only | stored | Class that judges new topics.
alter.config.policy.class.name | class | null | - | read-only | stored | Class that judges config changes.
controlled.shutdown.enable | boolean | true | - | read-only | acts | Whether leadership moves away before a stop.
broker.session.timeout.ms | int | 9000 | - | read-only | stored | How long a broker may be silent before it is fenced.
broker.heartbeat.interval.ms | int | 2000 | - | read-only | stored | How often a broker tells that it lives.

# Log
log.dir | list | data | - | read-only | acts | Data directory, used when log.dirs is not set.
log.dirs | list | null | - | read-only | acts | Data directory; with several names the first one is used.
log.retention.hours | int | 168 | - | read-only | acts | Age at which records may be deleted, in hours; log.retention.minutes and log.retention.ms go first.
log.retention.minutes | int | null | - | read-only | acts | Age at which records may be deleted, in minutes; log.retention.ms goes first.
log.retention.ms | long | null | - | cluster | acts | Age at which records may be deleted, in milliseconds; -1 keeps them for ever.
log.retention.bytes | long | -1 | - | cluster | acts | Size per partition above which old segments are deleted; -1 for no limit.
log.retention.check.interval.ms | long | 300000 | [1,...] | read-only | acts | How often retention looks at the partitions.
log.segment.bytes | int | 1073741824 | [1048576,...] | cluster | acts | Size at which a new segment is begun.
log.roll.hours | int | 168 | [1,...] | read-only | acts | Age at which a new segment is begun, in hours; log.roll.ms goes first.
log.roll.ms | long | null | - | cluster | acts | Age at which a new segment is begun, in milliseconds.
log.cleanup.policy | list | delete | [compact, delete] | cluster | acts | What happens to old segments: delete; compact is not available yet.
log.cleaner.enable | boolean | true | - | read-only | stored | Whether compaction runs.
log.cleaner.threads | int | 1 | [0,...] | cluster | stored | Threads of compaction.
log.cleaner.dedupe.buffer.size | long | 134217728 | - | cluster | stored | Memory of compaction for keys.
log.cleaner.delete.retention.ms | long | 86400000 | [0,...] | cluster | stored | How long compaction keeps tombstones.
log.cleaner.min.cleanable.ratio | double | 0.5 | [0,...,1] | cluster | stored | Dirty share of a log at which compaction begins.
log.cleaner.min.compaction.lag.ms | long | 0 | [0,...] | cluster | stored | Shortest time a record stays uncompacted.
log.cleaner.max.compaction.lag.ms | long | Long.MAX | [1,...] | cluster | stored | Longest time a record stays uncompacted.
log.cleaner.backoff.ms | long | 15000 | [0,...] | cluster | stored | Pause of compaction when there is nothing to do.
log.cleaner.io.max.bytes.per.second | double | Double.MAX | - | cluster | stored | Limit of compaction's reads and writes.
log.flush.interval.messages | long | Long.MAX | [1,...] | cluster | stored | Records after which a log is flushed; here every acknowledged record is on disk already.
log.flush.interval.ms | long | null | - | cluster | stored | Time after which a log is flushed; here every acknowledged record is on disk already.
log.flush.scheduler.interval.ms | long | Long.MAX | - | read-only | stored | How often Kafka looks for logs to flush.
log.message.timestamp.type | string | CreateTime | [CreateTime, LogAppendTime] | cluster | acts | Whether records keep the client's time or get the broker's.
log.message.timestamp.before.max.ms | long | Long.MAX | [0,...] | cluster | acts | How far a record's time may lie in the past.
log.message.timestamp.after.max.ms | long | 3600000 | [0,...] | cluster | acts | How far a record's time may lie in the future.
log.preallocate | boolean | false | - | cluster | stored | Whether segment files are preallocated; they always are where the file system can.
log.index.interval.bytes | int | 4096 | [0,...] | cluster | acts | Bytes of log between two index entries.
log.index.size.max.bytes | int | 10485760 | [4,...] | cluster | stored | Largest size of an index file.
log.segment.delete.delay.ms | long | 60000 | [0,...] | cluster | stored | How long a deleted segment's file stays.
num.recovery.threads.per.data.dir | int | 2 | [1,...] | cluster | stored | Threads that open logs at start.
compression.type | string | producer | [uncompressed, zstd, lz4, snappy, gzip, producer] | cluster | acts | Compression of stored batches; producer keeps what the client chose.
cordoned.log.dirs | list | (empty) | - | per-broker | stored | Data directories that take no new partitions.

# Requests, sockets, limits
message.max.bytes | int | 1048588 | [0,...] | cluster | acts | Largest batch a topic accepts, after compression.
fetch.max.bytes | int | 57671680 | [1024,...] | read-only | acts | Most bytes one Fetch answer carries.
socket.request.max.bytes | int | 104857600 | [1,...] | read-only | acts | Largest request; a longer one closes the connection.
socket.send.buffer.bytes | int | 102400 | - | read-only | stored | Send buffer of a connection in the kernel.
socket.receive.buffer.bytes | int | 102400 | - | read-only | stored | Receive buffer of a connection in the kernel.
socket.listen.backlog.size | int | 50 | [1,...] | read-only | acts | Connections the kernel keeps until they are accepted.
num.network.threads | int | 3 | [1,...] | cluster | stored | Network threads; shards take their place here.
num.io.threads | int | 8 | [1,...] | cluster | stored | Request threads; shards take their place here.
queued.max.requests | int | 500 | [1,...] | read-only | stored | Requests waiting for a request thread.
queued.max.request.bytes | long | -1 | - | read-only | stored | Bytes of waiting requests; the memory budget of the shards takes its place here.
connections.max.idle.ms | long | 600000 | - | read-only | acts | How long a connection may be silent before it is closed.
max.connections | int | Int.MAX | [0,...] | cluster | acts | Most connections of this broker.
max.connections.per.ip | int | Int.MAX | [0,...] | cluster | stored | Most connections from one address.
max.connections.per.ip.overrides | string | (empty) | - | cluster | stored | Limits for single addresses, host:count.
max.connection.creation.rate | int | Int.MAX | [0,...] | cluster | stored | Most new connections per second.
connections.max.reauth.ms | long | 0 | - | read-only | stored | How long a login is good for.
connection.failed.authentication.delay.ms | int | 100 | [0,...] | read-only | stored | How long a failed login waits for its answer.
request.timeout.ms | int | 30000 | - | read-only | acts | How long a request of the broker itself waits for its answer.
max.incremental.fetch.session.cache.slots | int | 1000 | [0,...] | read-only | acts | Most fetch sessions kept.
max.request.partition.size.limit | int | 2000 | [1,...] | read-only | acts | Most partitions in one DescribeTopicPartitions answer.

# Groups, offsets
group.initial.rebalance.delay.ms | int | 3000 | - | read-only | acts | How long a new group waits for more members before its first rebalance.
group.min.session.timeout.ms | int | 6000 | - | read-only | acts | Shortest session timeout a member may ask for.
group.max.session.timeout.ms | int | 1800000 | - | read-only | acts | Longest session timeout a member may ask for.
group.max.size | int | Int.MAX | [1,...] | read-only | acts | Most members of a group.
group.coordinator.rebalance.protocols | list | classic,consumer,streams | [consumer, classic, share, streams] | read-only | stored | Rebalance protocols served; classic here.
group.coordinator.threads | int | 4 | [1,...] | read-only | stored | Threads of the group coordinator; shards take their place here.
group.coordinator.append.linger.ms | int | -1 | [-1,...] | read-only | stored | How long group writes gather; they share the journal's rounds here.
group.consumer.assignors | list | uniform,range | - | read-only | stored | Assignors the broker knows for consumer groups.
group.consumer.session.timeout.ms | int | 45000 | [1,...] | read-only | stored | Session timeout of consumer groups.
group.consumer.min.session.timeout.ms | int | 45000 | [1,...] | read-only | stored | Shortest session timeout of a consumer group.
group.consumer.max.session.timeout.ms | int | 60000 | [1,...] | read-only | stored | Longest session timeout of a consumer group.
group.consumer.heartbeat.interval.ms | int | 5000 | [1,...] | read-only | stored | Heartbeat interval of consumer groups.
group.consumer.min.heartbeat.interval.ms | int | 5000 | [1,...] | read-only | stored | Shortest heartbeat interval of a consumer group.
group.consumer.max.heartbeat.interval.ms | int | 15000 | [1,...] | read-only | stored | Longest heartbeat interval of a consumer group.
group.consumer.max.size | int | Int.MAX | [1,...] | read-only | stored | Most members of a consumer group.
group.consumer.migration.policy | string | bidirectional | ~[DISABLED, DOWNGRADE, UPGRADE, BIDIRECTIONAL] | read-only | stored | Which moves between classic and consumer groups are allowed.
group.consumer.assignment.interval.ms | int | 1000 | [0,...] | cluster | stored | Shortest time between two assignments of a consumer group.
offsets.retention.minutes | int | 10080 | [1,...] | read-only | acts | How long offsets of an empty group are kept.
offsets.retention.check.interval.ms | long | 600000 | [1,...] | read-only | acts | How often expired offsets are looked for.
offsets.topic.num.partitions | int | 50 | [1,...] | read-only | acts | Partitions of __consumer_offsets.
offsets.topic.replication.factor | short | 3 | [1,...] | read-only | acts | Replicas of __consumer_offsets, never more than there are brokers.
offsets.topic.segment.bytes | int | 104857600 | [1,...] | read-only | acts | Segment size of __consumer_offsets.
offset.metadata.max.bytes | int | 4096 | - | read-only | acts | Largest metadata text of a committed offset.
offsets.commit.timeout.ms | int | 5000 | [1,...] | read-only | acts | How long a commit waits until its write is durable.

# Transactions, producers
transaction.max.timeout.ms | int | 900000 | [1,...] | read-only | stored | Longest transaction timeout a producer may ask for.
transactional.id.expiration.ms | int | 604800000 | [1,...] | read-only | stored | How long an unused transactional id is kept.
transaction.state.log.num.partitions | int | 50 | [1,...] | read-only | stored | Partitions of __transaction_state.
transaction.state.log.replication.factor | short | 3 | [1,...] | read-only | stored | Replicas of __transaction_state, never more than there are brokers.
transaction.state.log.min.isr | int | 2 | [1,...] | read-only | stored | min.insync.replicas of __transaction_state, never more than it has replicas.
transaction.abort.timed.out.transaction.cleanup.interval.ms | int | 10000 | [1,...] | read-only | stored | How often timed out transactions are looked for.
transaction.partition.verification.enable | boolean | true | - | cluster | stored | Whether a transaction's partitions are verified.
transaction.two.phase.commit.enable | boolean | false | - | read-only | stored | Whether producers may use two-phase commit.
producer.id.expiration.ms | int | 86400000 | [1,...] | cluster | acts | How long the sequence state of a silent producer is kept.

# Security
authorizer.class.name | string | (empty) | - | read-only | stored | Class that authorizes requests; refused until there is an authorizer.
principal.builder.class | class | org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder | - | per-broker | stored | Class that builds principals.
sasl.enabled.mechanisms | list | GSSAPI | - | per-broker | stored | SASL mechanisms of the listeners.
sasl.mechanism.inter.broker.protocol | string | GSSAPI | - | per-broker | stored | SASL mechanism between brokers.
sasl.jaas.config | password | null | - | per-broker | stored | JAAS login settings.
sasl.server.callback.handler.class | class | null | - | read-only | stored | Class that answers SASL callbacks.
sasl.server.max.receive.size | int | 524288 | - | read-only | stored | Largest SASL message.
sasl.oauthbearer.jwks.endpoint.url | string | null | - | read-only | stored | Where the keys of bearer tokens come from.
sasl.oauthbearer.expected.audience | list | (empty) | - | read-only | stored | Audience a bearer token must name.
sasl.oauthbearer.expected.issuer | string | null | - | read-only | stored | Issuer a bearer token must name.
sasl.oauthbearer.scope.claim.name | string | scope | - | read-only | stored | Claim that holds the scope.
sasl.oauthbearer.sub.claim.name | string | sub | - | read-only | stored | Claim that holds the subject.
sasl.oauthbearer.clock.skew.seconds | int | 30 | - | read-only | stored | Clock difference allowed for bearer tokens.
ssl.client.auth | string | none | [required, requested, none] | per-broker | stored | Whether clients must show a certificate.
ssl.enabled.protocols | list | TLSv1.2,TLSv1.3 | - | per-broker | stored | TLS versions offered.
ssl.protocol | string | TLSv1.3 | - | per-broker | stored | TLS version preferred.
ssl.cipher.suites | list | (empty) | - | per-broker | stored | Cipher suites offered.
ssl.keystore.type | string | JKS | - | per-broker | stored | Format of the key store.
ssl.keystore.location | string | null | - | per-broker | stored | File of the key store.
ssl.keystore.password | password | null | - | per-broker | stored | Password of the key store.
ssl.keystore.key | password | null | - | per-broker | stored | Private key as PEM text.
ssl.keystore.certificate.chain | password | null | - | per-broker | stored | Certificate chain as PEM text.
ssl.key.password | password | null | - | per-broker | stored | Password of the private key.
ssl.truststore.type | string | JKS | - | per-broker | stored | Format of the trust store.
ssl.truststore.location | string | null | - | per-broker | stored | File of the trust store.
ssl.truststore.certificates | password | null | - | per-broker | stored | Trusted certificates as PEM text.
ssl.endpoint.identification.algorithm | string | https | - | per-broker | stored | How host names are checked against certificates.
ssl.principal.mapping.rules | string | DEFAULT | - | read-only | stored | How certificate names become principals.
delegation.token.secret.key | password | null | - | read-only | stored | Secret that delegation tokens are signed with.

# Quotas, metrics, policy
quota.window.num | int | 11 | [1,...] | read-only | stored | Samples kept for client quotas.
quota.window.size.seconds | int | 1 | [1,...] | read-only | stored | Length of one quota sample.
client.quota.callback.class | class | null | - | read-only | stored | Class that decides client quotas.
controller.quota.window.num | int | 11 | [1,...] | read-only | stored | Samples kept for controller quotas.
metric.reporters | list | org.apache.kafka.common.metrics.JmxReporter | - | cluster | stored | Classes that report metrics; metrics are served to Prometheus here.
metrics.num.samples | int | 2 | [1,...] | read-only | stored | Samples kept for metrics.
metrics.sample.window.ms | long | 30000 | [1,...] | read-only | stored | Length of one metrics sample.
telemetry.max.bytes | int | 1048576 | [1,...] | read-only | stored | Largest push of client metrics.
config.providers | list | (empty) | - | cluster | stored | Providers of config values from elsewhere.

# Share, streams groups
group.share.assignors | list | simple | - | read-only | stored | Assignors of share groups.
group.share.delivery.count.limit | int | 5 | [2,...,10] | read-only | stored | Delivery attempts of a record in share groups.
group.share.record.lock.duration.ms | int | 30000 | [1000,...,3600000] | read-only | stored | How long a record stays acquired in share groups.
group.share.partition.max.record.locks | int | 2000 | [100,...,10000] | read-only | stored | Most acquired records of a share partition.
group.share.max.size | int | 200 | [1,...,1000] | read-only | stored | Most members of a share group.
group.share.max.share.sessions | int | 2000 | [1,...] | read-only | stored | Most share sessions.
group.share.session.timeout.ms | int | 45000 | [1,...] | read-only | stored | Session timeout of share groups.
group.share.heartbeat.interval.ms | int | 5000 | [1,...] | read-only | stored | Heartbeat interval of share groups.
share.coordinator.state.topic.num.partitions | int | 50 | [1,...] | read-only | stored | Partitions of __share_group_state.
share.coordinator.state.topic.replication.factor | short | 3 | [1,...] | read-only | stored | Replicas of __share_group_state.
group.streams.session.timeout.ms | int | 45000 | [1,...] | read-only | stored | Session timeout of streams groups.
group.streams.heartbeat.interval.ms | int | 5000 | [1,...] | read-only | stored | Heartbeat interval of streams groups.
group.streams.num.standby.replicas | int | 0 | [0,...] | read-only | stored | Standby replicas of streams tasks.
group.streams.max.size | int | Int.MAX | [1,...] | read-only | stored | Most members of a streams group.
group.streams.initial.rebalance.delay.ms | int | 3000 | [0,...] | read-only | stored | How long a new streams group waits for more members.

# Tiered storage
remote.log.storage.system.enable | boolean | false | - | read-only | stored | Whether tiered storage is on; not available.
remote.log.storage.manager.class.name | string | null | non-empty | read-only | stored | Class of the remote storage.
remote.log.metadata.manager.class.name | string | org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager | non-empty | read-only | stored | Class of the remote storage's metadata.
log.local.retention.ms | long | -2 | [-2,...] | cluster | stored | How long tiered data stays local; -2 follows log.retention.ms.
log.local.retention.bytes | long | -2 | [-2,...] | cluster | stored | How much tiered data stays local; -2 follows log.retention.bytes.
remote.log.manager.copier.thread.pool.size | int | 10 | [1,...] | cluster | stored | Threads that copy to remote storage.
remote.log.manager.copy.max.bytes.per.second | long | Long.MAX | [1,...] | cluster | stored | Limit of copying to remote storage.
remote.log.manager.fetch.max.bytes.per.second | long | Long.MAX | [1,...] | cluster | stored | Limit of reading from remote storage.
remote.fetch.max.wait.ms | int | 500 | [1,...] | cluster | stored | How long a remote read waits.

# Further names that can change without a restart
background.threads | int | 10 | [1,...] | cluster | stored | Threads for background work; shards take their place here.
compression.gzip.level | int | -1 | gzip | cluster | acts | gzip level where the broker compresses; -1 is the library's own.
compression.lz4.level | int | 9 | [1,...,17] | cluster | stored | lz4 level where the broker compresses.
compression.zstd.level | int | 3 | [-131072,...,22] | cluster | acts | zstd level where the broker compresses.
follower.fetch.last.tiered.offset.enable | boolean | false | - | cluster | stored | Whether a new follower begins at the last tiered offset.
follower.replication.throttled.rate | long | null | [0,...] | cluster | stored | Bytes per second of throttled replication on the follower's side.
leader.replication.throttled.rate | long | null | [0,...] | cluster | acts | Bytes per second that this broker sends from its segments to replicas that are behind, of every partition it leads.
replica.alter.log.dirs.io.max.bytes.per.second | long | null | [0,...] | cluster | stored | Bytes per second of moves between data directories.
group.coordinator.cached.buffer.max.bytes | int | 1048588 | [1,...] | cluster | stored | Largest buffer the group coordinator keeps for reuse.
group.share.assignment.interval.ms | int | 1000 | [0,...] | cluster | stored | Shortest time between two assignments of a share group.
group.streams.assignment.interval.ms | int | 1000 | [0,...] | cluster | stored | Shortest time between two assignments of a streams group.
log.cleaner.io.buffer.load.factor | double | 0.9 | - | cluster | stored | Fill of compaction's key map.
log.cleaner.io.buffer.size | int | 524288 | [0,...] | cluster | stored | Memory of compaction for reads and writes.
log.roll.jitter.ms | long | null | - | cluster | acts | Random time by which segments roll earlier, in milliseconds.
log.roll.jitter.hours | int | 0 | [0,...] | read-only | acts | Random time by which segments roll earlier, in hours; log.roll.jitter.ms goes first.
remote.list.offsets.request.timeout.ms | long | 30000 | [1,...] | cluster | stored | How long a remote offset look-up waits.
remote.log.index.file.cache.total.size.bytes | long | 1073741824 | [1,...] | cluster | stored | Cache of remote index files.
remote.log.manager.expiration.thread.pool.size | int | 10 | [1,...] | cluster | stored | Threads that expire remote segments.
remote.log.manager.follower.thread.pool.size | int | 2 | [1,...] | cluster | stored | Threads of remote storage on followers.
remote.log.reader.threads | int | 10 | [1,...] | cluster | stored | Threads that read from remote storage.
share.coordinator.cached.buffer.max.bytes | int | 1048588 | [1,...] | cluster | stored | Largest buffer the share coordinator keeps for reuse.
sasl.kerberos.kinit.cmd | string | /usr/bin/kinit | - | per-broker | stored | Path of kinit.
sasl.kerberos.min.time.before.relogin | long | 60000 | - | per-broker | stored | Pause between two Kerberos logins.
sasl.kerberos.principal.to.local.rules | list | DEFAULT | - | per-broker | stored | How Kerberos principals become short names.
sasl.kerberos.service.name | string | null | - | per-broker | stored | Kerberos service name of the brokers.
sasl.kerberos.ticket.renew.jitter | double | 0.05 | - | per-broker | stored | Random part of the Kerberos renewal time.
sasl.kerberos.ticket.renew.window.factor | double | 0.8 | - | per-broker | stored | Part of a ticket's life after which it is renewed.
sasl.login.refresh.buffer.seconds | short | 300 | [0,...,3600] | per-broker | stored | Time before expiry at which a login is renewed.
sasl.login.refresh.min.period.seconds | short | 60 | [0,...,900] | per-broker | stored | Shortest time between two renewals of a login.
sasl.login.refresh.window.factor | double | 0.8 | [0.5,...,1] | per-broker | stored | Part of a login's life after which it is renewed.
sasl.login.refresh.window.jitter | double | 0.05 | [0,...,0.25] | per-broker | stored | Random part of the renewal time of a login.
sasl.login.callback.handler.class | class | null | - | read-only | stored | Class that answers login callbacks.
sasl.login.class | class | null | - | read-only | stored | Class that logs in.
ssl.engine.factory.class | class | null | - | per-broker | stored | Class that makes TLS engines.
ssl.keymanager.algorithm | string | SunX509 | - | per-broker | stored | Algorithm of the key manager.
ssl.provider | string | null | - | per-broker | stored | Security provider of TLS.
ssl.secure.random.implementation | string | null | - | per-broker | stored | Random number generator of TLS.
ssl.trustmanager.algorithm | string | PKIX | - | per-broker | stored | Algorithm of the trust manager.
ssl.truststore.password | password | null | - | per-broker | stored | Password of the trust store.
`

const CONSTANTS: Readonly<Record<string, string | null>> = {
  null: null,
  '(empty)': '',
  'Long.MAX': '9223372036854775807',
  'Int.MAX': '2147483647',
  'Double.MAX': '1.7976931348623157E308',
}

/** The text of a default as the tables write it. */
export function defaultText(column: string): string | null {
  const constant = CONSTANTS[column]
  return constant === undefined ? column : constant
}

/**
 * The check that a table writes as `[1,...]`, `[1,...,9]` (inclusive bounds), `[a, b]` (one of; for a list: only these),
 * `~[a, b]` (in any case), `non-empty`, `gzip`, or `-` (none).
 */
export function checkOf(type: ConfigType, column: string): Check | undefined {
  if (column === '-') return undefined
  if (column === 'gzip') return gzipLevel
  if (column === 'non-empty') return nonEmptyString
  const bounds = /^\[([-0-9.]+),\.\.\.(?:,([-0-9.]+))?\]$/.exec(column)
  if (bounds !== null) return range(Number(bounds[1]), bounds[2] === undefined ? undefined : Number(bounds[2]))
  const names = column.replace(/^~?\[|\]$/g, '').split(', ')
  if (column.startsWith('~')) return oneOfAnyCase(...names)
  return type === 'list' ? listOf(...names) : oneOf(...names)
}

/** The rows of a table: comments and blank lines left out, each row split into its columns. */
export function tableRows(table: string): string[][] {
  return table
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(' | '))
}

function readTable(): Map<string, BrokerConfigDefinition> {
  const definitions = new Map<string, BrokerConfigDefinition>()
  for (const [name = '', typeColumn = '', standard = '', valid = '-', scope = '', effect = '', text = ''] of tableRows(
    TABLE,
  )) {
    const type = typeColumn as ConfigType
    definitions.set(name, {
      name,
      type,
      defaultText: defaultText(standard),
      check: checkOf(type, valid),
      documentation: text,
      scope: scope as DynamicScope,
      acts: effect === 'acts',
      isListedUnset: !LISTED_WHEN_SET.includes(name),
    })
  }
  return definitions
}

/** All broker configs by name, in the order of the table. */
export const brokerConfigDefinitions: ReadonlyMap<string, BrokerConfigDefinition> = readTable()

/** Known names that change nothing in this broker yet, for the documentation. */
export function configsWithoutEffect(): string[] {
  return [...brokerConfigDefinitions.values()].filter((definition) => !definition.acts).map(({ name }) => name)
}

/**
 * Finds the definition of a name, also of one with a `listener.name.<listener>.` prefix (and a `<mechanism>.` behind it).
 * @returns undefined for a name this broker does not know
 */
export function brokerConfigDefinition(name: string): BrokerConfigDefinition | undefined {
  const direct = brokerConfigDefinitions.get(name)
  if (direct !== undefined) return direct
  const prefixed = /^listener\.name\.[^.]+\.(.+)$/.exec(name)?.[1]
  if (prefixed === undefined) return undefined
  return brokerConfigDefinitions.get(prefixed) ?? brokerConfigDefinitions.get(prefixed.replace(/^[^.]+\./, ''))
}
