"""Metrics for Prometheus: python prometheus_metrics.py -b localhost:9092 -t ticks --port 8000

Sends a record ten times a second until Ctrl-C, and serves what librdkafka measures meanwhile at
http://localhost:8000/metrics. Needs the extra `prometheus`.
"""

import time

import click
from prometheus_client import start_http_server

from kafkapp import KafkaAsyncProducer
from kafkapp.prometheus import KafkaCollector


@click.command()
@click.option("-b", "--bootstrap-servers", required=True, help="host:port,...")
@click.option("-t", "--topic", required=True)
@click.option("--port", default=8000, help="Of the metrics; 0: any that is free.")
def main(bootstrap_servers, topic, port):
    server, _ = start_http_server(port)
    properties = {
        "bootstrap.servers": bootstrap_servers,
        "client.id": "ticks",
        "stats_cb": KafkaCollector(),  # in prometheus_client's registry, beside the metrics of the process
        "statistics.interval.ms": 1000,
    }
    with KafkaAsyncProducer(properties) as producer:
        click.echo(f"http://localhost:{server.server_port}/metrics")
        try:
            while True:
                producer.send(topic, f"{time.time()}")
                time.sleep(0.1)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
