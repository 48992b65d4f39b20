"""One librdkafka job per run: prints one JSON object, or lines of JSON for jobs that report as they go.

produce   BOOTSTRAP TOPIC COUNT [name=value ...]   writes shared records 0..COUNT-1, waits for every delivery report
consume   BOOTSTRAP TOPIC COUNT GROUP [name=value ...]  reads COUNT records from the start, commits, prints the checksum
stream    BOOTSTRAP TOPIC PREFIX FIRST [name=value ...]  idempotent producer until stdin closes; a line per acknowledged record
committed BOOTSTRAP TOPIC GROUP                     committed offsets by partition
admin     BOOTSTRAP TOPIC                           creates, alters, describes, grows and deletes a topic
members   BOOTSTRAP TOPIC GROUP                     two members, one leaves: the assignments seen on the way
"""

import json
import sys
import time
from zlib import crc32

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic


def settings(pairs):
    return dict(pair.split("=", 1) for pair in pairs)


def shared_value(index):
    """The same text as test/support/records.ts makes."""
    return f"{index:08d}:" + "abcdefghijklmnopqrstuvwxyz"[index % 26] * (20 + index % 81)


def produce(bootstrap, topic, count, *pairs):
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **settings(pairs)})

    def delivered(error, _message):
        if error is not None:
            failed.append(str(error))

    for index in range(int(count)):
        while True:
            try:
                producer.produce(topic, key=str(index % 1000), value=shared_value(index), on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    left = producer.flush(60)
    return {"count": int(count) - len(failed) - left, "errors": failed[:5]}


def consume(bootstrap, topic, count, group, *pairs):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **settings(pairs),
        }
    )
    consumer.subscribe([topic])
    seen, checksum = 0, 0
    deadline = time.monotonic() + 60
    while seen < int(count) and time.monotonic() < deadline:
        for message in consumer.consume(5000, timeout=0.5):
            if message.error() is not None:
                raise RuntimeError(str(message.error()))
            seen += 1
            checksum ^= crc32(message.value())
    # A last look, so that more records than asked are noticed.
    extra = len([m for m in consumer.consume(100, timeout=0.3) if m.error() is None])
    committed = consumer.commit(asynchronous=False) if seen > 0 else []
    consumer.close()
    return {"count": seen + extra, "checksum": checksum, "committed": sum(p.offset for p in committed)}


def stream(bootstrap, topic, prefix, first, *pairs):
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 1,
            "message.timeout.ms": 60000,
            "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 100,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
            "socket.timeout.ms": 5000,
            "log_level": 0,
            **settings(pairs),
        }
    )
    # Set by a line on stdin, read without blocking the delivery reports.
    import threading

    stopping = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stopping.set()), daemon=True).start()
    out = sys.stdout

    def delivered(error, message):
        value = message.value().decode()
        if error is None:
            out.write(f"{value} {message.partition()} {message.offset()}\n")
        else:
            out.write(f"! {value} {error.str()}\n")

    index = int(first)
    while not stopping.is_set():
        # Paced: the reader on the other side checks every record after each round.
        for _ in range(16 if len(producer) < 500 else 0):
            producer.produce(topic, value=f"{prefix}-{index}", on_delivery=delivered)
            index += 1
        producer.poll(0.004)
        out.flush()
    left = producer.flush(60)
    out.write(f"end {index} {left}\n")
    out.flush()


def committed(bootstrap, topic, group):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    offsets = consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=10)
    consumer.close()
    return {str(p.partition): p.offset for p in offsets}


def admin(bootstrap, topic):
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "123456"})])[topic].result(20)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    before = client.describe_configs([resource])[resource].result(20)["retention.ms"].value
    change = ConfigResource(
        ConfigResource.Type.TOPIC,
        topic,
        incremental_configs=[ConfigEntry("retention.ms", "654321", incremental_operation=AlterConfigOpType.SET)],
    )
    for future in client.incremental_alter_configs([change]).values():
        future.result(20)
    after = client.describe_configs([resource])[resource].result(20)["retention.ms"].value
    client.create_partitions([NewPartitions(topic, 5)])[topic].result(20)
    partitions = wait_for(lambda: len(client.list_topics(topic, timeout=10).topics[topic].partitions), 5)
    cluster = client.describe_cluster().result(20)
    client.delete_topics([topic])[topic].result(20)
    gone = wait_for(lambda: topic not in client.list_topics(timeout=10).topics, True)
    return {"before": before, "after": after, "partitions": partitions, "nodes": len(cluster.nodes), "gone": gone}


def wait_for(probe, wanted):
    deadline = time.monotonic() + 10
    while (value := probe()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def members(bootstrap, topic, group):
    common = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 200,
    }
    assigned = {}

    def member(name, **extra):
        consumer = Consumer({**common, "client.id": name, **extra})
        consumer.subscribe(
            [topic],
            on_assign=lambda _c, parts: assigned.__setitem__(name, sorted(p.partition for p in parts)),
            on_revoke=lambda _c, _parts: assigned.__setitem__(name, []),
        )
        return consumer

    def drive(consumers, done):
        deadline = time.monotonic() + 30
        while not done() and time.monotonic() < deadline:
            for consumer in consumers:
                consumer.poll(0.05)
        return {name: list(parts) for name, parts in assigned.items()}

    first = member("first")
    alone = drive([first], lambda: len(assigned.get("first", [])) == 4)
    second = member("second")
    both = drive([first, second], lambda: len(assigned.get("first", [])) == 2 and len(assigned.get("second", [])) == 2)
    second.close()
    left = drive([first], lambda: len(assigned.get("first", [])) == 4)
    first.close()
    return {"alone": alone, "both": both, "left": left}


JOBS = {
    "produce": produce,
    "consume": consume,
    "stream": stream,
    "committed": committed,
    "admin": admin,
    "members": members,
}

answer = JOBS[sys.argv[1]](*sys.argv[2:])
if answer is not None:
    print(json.dumps(answer))
