from typing import final

from kafkapp.client.handle import Service

@final
class ConsumerService(Service): ...
