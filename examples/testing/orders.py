"""A module that sends: test_orders.py beside it tests it with kafkapp's pytest fixtures."""

import json

from kafkapp import KafkaAsyncProducer


class Orders:
    """Events of a shop. What could not be delivered is kept in `failed`, to be dealt with by whoever has the orders."""

    def __init__(self, producer: KafkaAsyncProducer, topic: str = "orders"):
        self.producer, self.topic, self.failed = producer, topic, []

    def placed(self, number: int, items: list[str]) -> None:
        """An order was placed. Returns at once."""
        event = json.dumps({"event": "placed", "items": items})
        self.producer.send(self.topic, event, key=f"order-{number}", id=number, headers={"version": "1"},
                           callback=self.reported)

    def cancelled(self, number: int) -> None:
        """An order is no more: a null value, which a compacted topic forgets."""
        self.producer.send(self.topic, None, key=f"order-{number}", id=number, callback=self.reported)

    def reported(self, metadata, error):
        if error:
            self.failed.append((metadata.record_id, error.code))
