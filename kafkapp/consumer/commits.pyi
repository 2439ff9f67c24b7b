from typing import Any

from kafkapp.common.errors import KafkaException as KafkaException
from kafkapp.common.texts import check_text as check_text
from kafkapp.consumer.topic_partition import MAX_OFFSET as MAX_OFFSET
from kafkapp.consumer.topic_partition import checked_integer as checked_integer
from kafkapp.consumer.topic_partition import checked_partition as checked_partition

__pyx_capi__: dict[str, Any]
