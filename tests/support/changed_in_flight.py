"""Payloads that a thread overwrites while they are in flight (F34): the reports, and what other clients then read."""
import threading
import time

from faultkit import make

from kafkapp import ProducerRecord, SendOption

OLD, NEW = ord("o"), ord("n")


class Writer:
    """While in the block a thread overwrites the newest buffers piece by piece, all old and all new in turn."""

    def __init__(self, size):
        self.size, self.buffers, self.stop, self.turns = size, [], threading.Event(), 0

    def run(self):
        piece = max(1, self.size // 20)
        forms = bytes([NEW]) * piece, bytes([OLD]) * piece
        while not self.stop.is_set():
            for buffer in self.buffers[-2:]:
                with memoryview(buffer) as view:
                    for start in range(0, self.size - piece + 1, piece):
                        view[start:start + piece] = forms[self.turns % 2]
                        time.sleep(0)           # others may have the GIL, and see a mixture
            self.turns += 1

    def __enter__(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *failure):
        self.stop.set()
        self.thread.join(10)
        assert self.turns


def written_to(bootstrap, topic, count, size, option=SendOption.NoCopyRecordValue, **properties):
    """The errors (or None) of `count` records of one request each, whose values were written to until the last report."""
    outcomes = []
    limits = {"linger.ms": 0, "batch.num.messages": 1, "message.timeout.ms": 2500, "retry.backoff.ms": 5,
              "message.max.bytes": 1_000_000, "socket.send.buffer.bytes": 8192}
    with make("Auto", bootstrap, limits, **properties) as producer, Writer(size) as writer:
        for number in range(count):
            buffer = bytearray([OLD]) * size
            producer.send(ProducerRecord(topic, 0, key=b"%d" % number, value=buffer),
                          lambda metadata, error, number=number: outcomes.append((number, error)), option)
            writer.buffers.append(buffer)
            if number % 3 == 0:
                producer.flush(20)
        producer.flush(20)
    for buffer in writer.buffers:
        buffer.append(0)            # a BufferError, were one still held
    assert sorted(number for number, _ in outcomes) == list(range(count)), "each one outcome"
    return [error for _, error in sorted(outcomes, key=lambda outcome: outcome[0])]


def forms(values, size):
    """How many values are all old, all new, and some of both; a byte of neither, or a wrong length, is a failure."""
    counts = {"old": 0, "new": 0, "mixed": 0}
    for value in values:
        old, new = value.count(OLD), value.count(NEW)
        assert old + new == len(value) == size, "bytes that nobody has written"
        counts["old" if not new else "new" if not old else "mixed"] += 1
    return counts
