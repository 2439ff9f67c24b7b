"""A member of a consumer group, as a program: reads, writes down what it has read, and commits after: now and then, and when it is revoked.

python group_member.py kafkapp|confluent TOPIC '{"group.id": ...}' prints group_history's events as JSON, each when it has
happened: what stands there is there when the program is killed. Ends on SIGTERM, leaving its group.
confluent-kafka's consumer shows whether a finding is ours. With `forget`, the control's bug, what is read is committed first.
"""
import json
import os
import signal
import sys
import time

COMMIT_SECONDS = 0.3


def say(name, **more):
    print(json.dumps({"name": name, "at": time.monotonic(), **more}), flush=True)


def numbers(partitions):
    return sorted(place.partition for place in partitions)


class Kafkapp:
    def __init__(self, topic, properties):
        import kafkapp

        self.consumer = kafkapp.KafkaConsumer(properties | {"enable.auto.commit": False})
        self.topic = topic
        self.error = kafkapp.KafkaException
        self.consumer.subscribe([topic], lambda event, places: on_rebalance(self, event.name.lower(), numbers(places)))

    def poll(self):
        return [(record.partition, record.offset, bytes(record.value).decode()) for record in self.consumer.poll(0.2)]

    def commit(self, ends):
        self.consumer.commit_sync({(self.topic, partition): offset for partition, offset in ends.items()}, timeout=20)

    @staticmethod
    def name(error):
        return error.error.code.name


class Confluent:
    def __init__(self, topic, properties):
        import confluent_kafka

        self.library, self.error, self.topic = confluent_kafka, confluent_kafka.KafkaException, topic
        self.consumer = confluent_kafka.Consumer(properties | {"enable.auto.commit": False, "log_level": 0})
        callbacks = {"on_assign": "assigned", "on_revoke": "revoked", "on_lost": "lost"}
        self.consumer.subscribe([topic], **{name: lambda _, places, event=event: on_rebalance(self, event, numbers(places))
                                            for name, event in callbacks.items()})

    def poll(self):
        messages = [message for message in self.consumer.consume(500, 0.2) if message.error() is None]
        return [(message.partition(), message.offset(), message.value().decode()) for message in messages]

    def commit(self, ends):
        self.consumer.commit(offsets=[self.library.TopicPartition(self.topic, *end) for end in ends.items()], asynchronous=False)

    @staticmethod
    def name(error):
        return error.args[0].name()


def attempt(client, what, call, *arguments):
    """A Kafka error is written down, and the member goes on."""
    try:
        return call(*arguments)
    except client.error as failure:
        say("failed", what=what, code=client.name(failure), text=str(failure))
        return None


pending = {}        # what is written down and not committed: the next offset of each partition


def commit(client, ends):
    if ends and attempt(client, "commit", lambda: (client.commit(ends), True)):
        say("committed", offsets=[*ends.items()])


def on_rebalance(client, event, partitions):
    ends = {} if event == "assigned" else {number: pending.pop(number) for number in partitions if number in pending}
    if event == "revoked":
        commit(client, ends)
    say(event, partitions=partitions)


def main(library, topic, properties, *bugs):
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    client = {"kafkapp": Kafkapp, "confluent": Confluent}[library](topic, json.loads(properties))
    say("started", pid=os.getpid())
    due = time.monotonic()
    while not ended:
        records = attempt(client, "poll", client.poll)
        ends = {partition: offset + 1 for partition, offset, _ in records or []}
        if "forget" in bugs:
            commit(client, ends)
            time.sleep(0.05)        # its work, in which it is killed
            ends = {}
        if records:
            say("poll", records=records)
            pending.update(ends)
        if time.monotonic() >= due:
            commit(client, dict(pending))
            pending.clear()
            due = time.monotonic() + COMMIT_SECONDS
    client.consumer.close()
    say("closed")


if __name__ == "__main__":
    main(*sys.argv[1:])
