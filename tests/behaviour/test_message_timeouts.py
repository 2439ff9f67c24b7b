"""message.timeout.ms while the broker is away, with librdkafka's default reconnect backoff: the report comes within a second of it."""
import threading
import time

import pytest
from helpers import LIBRDKAFKA, keeps_words, properties

from kafkapp import ErrorCode, KafkaAsyncProducer, ProducerRecord

QUIET = {"log_level": 0, "error_cb": lambda error: None}
TIMEOUTS = (1.5, 2.5, 3.5, 5, 7)        # at some of them librdkafka is in the middle of a long backoff, whatever its jitter


class HeldUp:
    """How long this process's threads are held up at most, beyond what they asked for: that is no doing of librdkafka's."""

    def __enter__(self):
        self.seconds, self.end = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        before = time.monotonic()
        while not self.end.wait(0.05):
            self.seconds, before = max(self.seconds, time.monotonic() - before - 0.05), time.monotonic()

    def __exit__(self, *exc_info):
        self.end.set()
        self.thread.join()


@pytest.mark.skipif(not keeps_words() and LIBRDKAFKA < (2, 16), reason="this librdkafka reports late: docs/guide/guarantees.md")
@pytest.mark.parametrize("idempotent", [False, True])
def test_the_report_comes_within_a_second(cluster, topic, idempotent):
    producers = [KafkaAsyncProducer(properties(cluster, QUIET, linger_ms=0, enable_idempotence=idempotent,
                                               message_timeout_ms=int(timeout * 1000))) for timeout in TIMEOUTS]
    for producer in producers:
        producer.send(ProducerRecord(topic, 0, value=b"before"))
        producer.flush(10)
    cluster.broker_down(1)
    late, done = {}, threading.Semaphore(0)

    def report(metadata, error):
        timeout, sent = metadata.record_id
        late[timeout, sent] = time.monotonic() - sent - timeout, error.code
        done.release()

    with HeldUp() as held_up:
        for pause in 0, 0.3:        # the second finds the broker's thread waiting for the first
            time.sleep(pause)
            for timeout, producer in zip(TIMEOUTS, producers, strict=True):
                producer.send(ProducerRecord(topic, 0, value=b"v", id=(timeout, time.monotonic())), report)
        for _ in range(2 * len(TIMEOUTS)):
            assert done.acquire(timeout=60)
    for producer in producers:
        producer.close(0)
    assert {code for _, code in late.values()} == {ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT}
    assert all(-0.1 < seconds < 1 + held_up.seconds for seconds, _ in late.values()), (late, held_up.seconds)
