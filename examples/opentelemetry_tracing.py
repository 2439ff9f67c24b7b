"""Spans of what is sent: python opentelemetry_tracing.py -b localhost:9092 -t orders --count 3

Sends orders, each within a span of its own, and prints the spans as they end: that of a record ends with its delivery
report. Needs the extra `otel`, and opentelemetry-sdk; a program of yours has the SDK's exporter for its collector.
"""

import asyncio

import click
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from kafkapp.opentelemetry import KafkaInstrumentor

KafkaInstrumentor().instrument()  # before any name of a producer is imported

from kafkapp import KafkaAsyncProducer  # noqa: E402
from kafkapp.aio import KafkaProducer  # noqa: E402


async def place_orders(properties, topic, count, tracer):
    async with KafkaProducer(properties) as producer:
        for number in range(count):
            with tracer.start_as_current_span("place order"):
                await producer.send(topic, f"order {number}", key=f"asyncio-{number}")


@click.command()
@click.option("-b", "--bootstrap-servers", required=True, help="host:port,...")
@click.option("-t", "--topic", required=True)
@click.option("--count", default=3, help="How many orders.")
def main(bootstrap_servers, topic, count):
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(formatter=lambda span: span.to_json(None) + "\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("orders")
    properties = {"bootstrap.servers": bootstrap_servers}
    with KafkaAsyncProducer(properties) as producer:
        for number in range(count):
            with tracer.start_as_current_span("place order"):
                producer.send(topic, f"order {number}", key=f"order-{number}")
    asyncio.run(place_orders(properties, topic, count, tracer))


if __name__ == "__main__":
    main()
