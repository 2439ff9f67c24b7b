"""The last message of a client that ends, destroyed beside rd_kafka_destroy(): build_support/patches/last-message.patch.

tests/native/last_message.c holds the thread that destroys it in between; it is linked with the librdkafka of kafkapp's modules.
"""
import re
import subprocess
from pathlib import Path

import pytest
import sanitize
from helpers import LIBRDKAFKA, keeps_words, properties

import kafkapp.consumer.record_queue
from kafkapp import KafkaSyncProducer



@pytest.fixture
def program(tmp_path):
    """The driver, or a skip where this machine builds none."""
    if lacks := sanitize.missing(None):
        pytest.skip(lacks)
    flags = [flag for flag in sanitize.installed().cflags if flag.startswith("-I")]
    linked = subprocess.run(["ldd", kafkapp.consumer.record_queue.__file__], check=True, capture_output=True, text=True, timeout=60).stdout
    library = Path(re.search(r"librdkafka\S* => (\S+)", linked)[1])
    made = tmp_path / "last_message"
    subprocess.run(["gcc", "-O1", "-rdynamic", *flags, sanitize.ROOT / "tests/native/last_message.c", library, f"-Wl,-rpath,{library.parent}",
                    "-ldl", "-pthread", "-o", made], check=True, timeout=100)
    return made


@pytest.mark.skipif(not keeps_words() and LIBRDKAFKA > (2, 15, 1), reason="a release that nobody has looked at")
def test_the_client_is_there_until_the_last_message_is_gone(program, cluster, topic):
    """Releases without the patch are the control: 2.0.2 and 2.15.1 use what was freed."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"v"] * 10, partition=0)
    with subprocess.Popen([program, cluster.bootstrap_servers, topic], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            cluster.set_leader(topic, 0, None)
            out, _ = process.communicate("\n", timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == ((0, "good\n") if keeps_words() else (1, "used after it was freed\n"))
