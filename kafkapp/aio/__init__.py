"""The producer and the consumer for asyncio."""
from kafkapp import _modules

_modules.install()     # again: sys.meta_path may have been put back since kafkapp was imported

from kafkapp.aio.consumer import KafkaConsumer
from kafkapp.aio.producer import KafkaProducer, SendFuture

__all__ = ["KafkaConsumer", "KafkaProducer", "SendFuture"]
