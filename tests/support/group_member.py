"""A member of a consumer group, as a program: reads, writes down what it has read, and commits after.

python group_member.py kafkapp|confluent TOPIC '{"group.id": ...}' prints group_history's events as JSON, each when it has
happened: what stands there is there when the program is killed. Ends on SIGTERM, leaving its group.
confluent-kafka's consumer shows whether a finding is ours. With `forget`, the control's bug, what is read is committed first.
"""
import json
import os
import signal
import sys
import time


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
        self.consumer.subscribe([topic], self.on_rebalance)

    def on_rebalance(self, event, partitions):
        say(event.name.lower(), partitions=numbers(partitions))

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
        self.consumer.subscribe([topic], **{name: lambda _, places, event=event: say(event, partitions=numbers(places))
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


def main(library, topic, properties, *bugs):
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    client = {"kafkapp": Kafkapp, "confluent": Confluent}[library](topic, json.loads(properties))
    say("started", pid=os.getpid())
    while not ended:
        records = attempt(client, "poll", client.poll)
        if not records:
            continue
        ends = {partition: offset + 1 for partition, offset, _ in records}
        written = False
        if "forget" not in bugs:
            say("poll", records=records)
            written = True
        if attempt(client, "commit", lambda: (client.commit(ends), True)):
            say("committed", offsets=[*ends.items()])
        if not written:
            time.sleep(0.05)        # its work, in which it is killed
            say("poll", records=records)
    client.consumer.close()
    say("closed")


if __name__ == "__main__":
    main(*sys.argv[1:])
