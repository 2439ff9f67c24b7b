"""The interpreter's flags: the same outcome without assertions and docstrings, with -bb, in development mode.

Ids, keys and headers are bytes: to put one into a text by str() is an error under -bb.
"""
import pytest
from helpers import finish, run_python, start_python

FLAGS = {"-O": ["-O"], "-OO": ["-OO"], "-bb": ["-bb"], "-X dev -W error": ["-X", "dev", "-W", "error"]}
PROGRAM = """
import asyncio, copy, gc, logging, pickle
from kafkapp import *
from kafkapp.aio import KafkaProducer
from kafkapp.testing import MockCluster

logging.getLogger("asyncio").setLevel(logging.ERROR)    # a slow callback is a matter of the machine
shown = []

def show(*things):
    for thing in things:
        shown.append(f"{thing} {thing!r} {thing!s:.9}")

with MockCluster() as cluster:
    properties = {"bootstrap.servers": cluster.bootstrap_servers, "linger.ms": 0, "log_cb": lambda *log: None}
    record = ProducerRecord("t", 0, b"key", bytearray(b"value"), b"id", headers=[Header("h", b"\\xff"), ("n", None)], timestamp=1)
    show(record, record.headers, Key(b"a"), Value(None), Header("h", b"v"), pickle.loads(pickle.dumps(record)), copy.copy(record))
    for make in (KafkaSyncProducer, KafkaAsyncProducer, lambda p: KafkaAsyncProducer(p, EventsPollingOption.Manual)):
        with make(properties) as producer:
            show(producer, producer.properties, producer.send_batch("t", [b"a", "b", None], keys=b"k"))
            if make is KafkaSyncProducer:
                show(producer.send(record))
            else:
                producer.send(record, lambda metadata, error: show(metadata, error))
            error = producer.try_send(ProducerRecord("t", value=bytes(2_000_000), id=b"id")) if make is not KafkaSyncProducer else None
            show(error)

    async def main():
        async with KafkaProducer(properties) as producer:
            show(await producer.send(ProducerRecord("t", value=b"v", id=b"id")), producer)

    asyncio.run(main())
    for wrong in ({"lingre.ms": 1}, {"linger.ms": b"1"}):
        try:
            KafkaAsyncProducer({**properties, **wrong})
        except (TypeError, ValueError) as exc:
            show(exc)
        else:
            raise SystemExit("taken")
gc.collect()
if len(shown) < 25:
    raise SystemExit(f"{len(shown)} shown")
print("ok")
"""


@pytest.mark.parametrize("flags", FLAGS)
def test_the_same_under_each_flag(flags):
    process = start_python(PROGRAM, flags=FLAGS[flags])
    out, err = finish(process, 60)
    assert (process.returncode, out, err) == (0, "ok\n", "")


def test_bytes_in_a_text_would_be_found():
    with pytest.raises(AssertionError, match="BytesWarning"):
        run_python(PROGRAM.replace("record.headers,", "str(b'bytes'),"), flags=FLAGS["-bb"], timeout=60)
