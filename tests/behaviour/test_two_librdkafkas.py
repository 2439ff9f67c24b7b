"""Two librdkafkas in one process: both orders of import, and both send."""
import subprocess
import sys

import pytest

pytest.importorskip("confluent_kafka")

CODE = """
import re
{imports}
import kafkapp.testing

with kafkapp.testing.MockCluster() as cluster:
    cluster.create_topic("both", partitions=1)
    servers = {{"bootstrap.servers": cluster.bootstrap_servers}}
    other = confluent_kafka.Producer({{**servers, "log_level": 0}})
    seen = []
    with kafkapp.KafkaSyncProducer(servers) as ours:
        for number in range(3):
            seen.append(ours.send(kafkapp.ProducerRecord("both", 0, None, b"ours")).offset)
            other.produce("both", b"other", partition=0, on_delivery=lambda e, m: seen.append((e, m.offset())))
            assert other.flush(10) == 0
    print(seen)
maps = open("/proc/self/maps").read()
print(len(set(re.findall(r"/\\S*/(librdkafka\\S*)", maps))))
print(confluent_kafka.libversion()[0], kafkapp.librdkafka_version())
"""


@pytest.mark.parametrize("names", [("kafkapp", "confluent_kafka"), ("confluent_kafka", "kafkapp")])
def test_two_librdkafkas_live_in_one_process(names):
    code = CODE.format(imports="\n".join(f"import {name}" for name in names))
    ran = subprocess.run([sys.executable, "-c", code], check=False, text=True, capture_output=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    seen, copies, _ = ran.stdout.splitlines()
    assert seen == "[0, (None, 1), 2, (None, 3), 4, (None, 5)]"
    assert copies == "2"
