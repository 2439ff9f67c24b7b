"""The last message of a client that ends, destroyed beside rd_kafka_destroy(): build_support/patches/last-message.patch.

tests/native/last_message.c holds the thread that destroys it in between; it is linked with the librdkafka of kafkapp's modules.
"""
import subprocess

import pytest
from helpers import LIBRDKAFKA, keeps_words, properties

from kafkapp import KafkaSyncProducer


@pytest.mark.skipif(not keeps_words() and LIBRDKAFKA > (2, 15, 1), reason="a release that nobody has looked at")
def test_the_client_is_there_until_the_last_message_is_gone(librdkafka_program, cluster, topic):
    """Releases without the patch are the control: 2.0.2 and 2.15.1 use what was freed."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"v"] * 10, partition=0)
    program = librdkafka_program("last_message")
    with subprocess.Popen([program, cluster.bootstrap_servers, topic], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            cluster.set_leader(topic, 0, None)
            out, _ = process.communicate("\n", timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == ((0, "good\n") if keeps_words() else (1, "used after it was freed\n"))
