"""The producer for asyncio."""
from kafkapp.aio.producer import KafkaProducer, SendFuture

__all__ = ["KafkaProducer", "SendFuture"]
