"""`kafkapp bench` against a real single-node Apache Kafka: python tests/support/bench_kafka.py callback java --rounds 5

A program, not a test. It takes the arguments of `kafkapp bench`, starts the broker that the tests use (Java 17; Maven
fetches the jars the first time), and has the official Java producer's jars ready for the scenario `java`.
"""
import os
import subprocess
import sys

from kafka_cluster import KafkaCluster
from kafka_jars import find_jars

def config(names):
    """The clients' own defaults, and topics that come by themselves: of one partition, of four for scenarios that read."""
    reads = any(name.startswith("consume") for name in names)
    return {"auto.create.topics.enable": "true", "num.partitions": "4" if reads else "1"}


def main():
    environment = {**os.environ, "KAFKA_HOME": str(find_jars(tools=True))}
    with KafkaCluster(1, proxied=False, config=config(sys.argv[1:]), node_options=["-Xms1g", "-Xmx2g"]) as cluster:
        command = [sys.executable, "-m", "kafkapp", "bench", "-b", cluster.bootstrap_servers, *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
