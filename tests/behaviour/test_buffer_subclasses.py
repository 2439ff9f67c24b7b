"""Subclasses of bytes, str and other exporters with a buffer of their own: held like any exporter."""
import gc
import sys

import pytest
from batches import new_producer, offline
from readback import read_messages

from kafkapp import Header, Key, ProducerRecord, SendOption, Value

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ in Python is new in 3.12")
OWN = b"%032d" % 7 * 8


def derived(base, log):
    class Odd(base):
        """Each time it is asked it exports memory of its own, and notes when that is released."""

        def __buffer__(self, flags):
            log.append(1)
            return memoryview(bytearray(OWN))

        def __release_buffer__(self, view):
            log.append(-1)
            view.release()

    return Odd


@pytest.mark.parametrize("base", [bytes, bytearray])
@pytest.mark.parametrize("way", ["send", "batch", "keys", "one key", "offsets"])
def test_its_buffer_is_held_until_the_report(base, way):
    log = []
    odd = derived(base, log)(b"raw")
    with offline("manual") as producer:
        if way == "send":
            producer.send(ProducerRecord("t", value=odd))
        else:
            values, more = {"batch": ([odd], {}), "keys": ([b"v"], {"keys": [odd]}), "one key": ([b"v"], {"keys": odd}),
                            "offsets": (odd, {"offsets": memoryview(bytes(4) + (32).to_bytes(4, sys.byteorder)).cast("i")})}[way]
            producer.send_batch("t", values, **more)
        assert sum(log) == 1, "not held while the record is in flight"
        producer.purge()
        producer.flush(10)
        gc.collect()
        assert log and sum(log) == 0


def test_what_arrives_is_what_it_exports(broker, topic):
    odd = derived(bytes, [])(b"raw")
    with new_producer("auto", broker.bootstrap_servers, linger_ms=50) as producer:
        producer.send_batch(topic, [odd] * 100, partition=0, keys=[odd] * 100)
        for option in SendOption:
            producer.send(ProducerRecord(topic, 0, odd, odd, headers=[("h", odd)]), None, option)
    for message in read_messages(broker.bootstrap_servers, topic):
        assert message.value() == OWN == message.key()
        assert all(value == OWN for _, value in message.headers() or ())


def test_views_and_headers_read_its_buffer():
    odd = derived(bytes, [])(b"raw")
    assert Value(odd) == OWN and bytes(Key(odd)) == OWN and len(Value(odd)) == len(OWN)
    assert str(Header("h", odd)) == f"h:{OWN.decode()}"
