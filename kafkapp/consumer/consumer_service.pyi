from typing import final

from kafkapp.client.handle import Service
from kafkapp.common.errors import KafkaException as KafkaException

@final
class PendingCommit: ...

@final
class ConsumerService(Service): ...
