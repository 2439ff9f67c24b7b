"""A handler of `logging` that sends each line to Kafka as JSON, and holds no program up.

    python examples/logging_handler.py localhost:9092 logs

What finds no room in the queue, as while the brokers are away, is dropped and counted. The producer's own lines
("kafkapp") are not sent: about brokers that are away they could only pile up.
"""

import json
import logging
import sys

from kafkapp import KafkaAsyncProducer


class KafkaHandler(logging.Handler):
    """Sends records to a topic.

    Attributes:
        dropped: how many lines were not sent or not delivered.
    """

    def __init__(self, properties, topic, level=logging.NOTSET):
        super().__init__(level)
        self.topic, self.dropped = topic, 0
        self.producer = KafkaAsyncProducer(properties)
        self.addFilter(lambda record: record.name.partition(".")[0] != "kafkapp")

    def emit(self, record):
        try:
            line = {
                "time": record.created,
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info:
                line["exception"] = logging.Formatter().formatException(record.exc_info)
            value = json.dumps(line).encode()
            if self.producer.closed or self.producer.try_send(
                self.topic, value, key=record.name, callback=self.on_delivery
            ):
                self.dropped += 1
        except Exception:
            self.handleError(record)

    def on_delivery(self, metadata, error):
        if error:
            self.dropped += 1

    def flush(self):
        """What logging.shutdown() calls before close(), also when the producer is closed already."""
        try:
            self.producer.flush(5)
        except TimeoutError:
            pass  # close() says how many are lost

    def close(self):
        self.producer.close(5)
        super().close()


def main(servers, topic):
    handler = KafkaHandler({"bootstrap.servers": servers, "client.id": "logs", "compression.type": "gzip"}, topic)
    logging.basicConfig(level=logging.INFO, handlers=[handler, logging.StreamHandler()])
    log = logging.getLogger("shop.orders")
    log.info("order %s has %d items", 42, 3)
    try:
        float("a price")
    except ValueError:
        log.exception("order %s has no price", 43)


if __name__ == "__main__":
    main(*sys.argv[1:])
