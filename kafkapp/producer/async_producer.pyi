from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, SupportsIndex, TypeAlias, overload

from typing_extensions import disjoint_base

from kafkapp.common.errors import Error
from kafkapp.common.options import EventsPollingOption
from kafkapp.config.properties import Properties
from kafkapp.config.property_types import ProducerProperties
from kafkapp.producer.batch import Batch
from kafkapp.producer.callback_types import BatchCallback, DeliveryCallback
from kafkapp.producer.columns import _Column, _Memory
from kafkapp.producer.headers_column import _HeadersColumn
from kafkapp.producer.options import ActionWhileQueueIsFull, SendOption
from kafkapp.producer.producer import Producer
from kafkapp.producer.record import ProducerRecord, _Data, _Headers
from kafkapp.producer.record_metadata import RecordMetadata
from kafkapp.producer.timestamps import _Timestamps

_Timeout: TypeAlias = int | float | timedelta | None

@disjoint_base
class KafkaAsyncProducer(Producer):
    def __init__(self, properties: ProducerProperties | Properties | Mapping[str, Any],
                 events_polling: EventsPollingOption = EventsPollingOption.Auto) -> None: ...
    @overload
    def send(self, topic: str, value: _Data, *, key: _Data = None, partition: SupportsIndex | None = None,
             headers: _Headers = None, timestamp: SupportsIndex | datetime | None = None, id: object = None,
             callback: DeliveryCallback | None = None, option: SendOption = SendOption.NoCopyRecordValue,
             action: ActionWhileQueueIsFull | None = None, timeout: _Timeout = None) -> None: ...
    @overload
    def send(self, record: ProducerRecord, callback: DeliveryCallback | None = None,
             option: SendOption = SendOption.NoCopyRecordValue, *, action: ActionWhileQueueIsFull | None = None,
             timeout: _Timeout = None) -> None: ...
    @overload
    def try_send(self, topic: str, value: _Data, *, key: _Data = None, partition: SupportsIndex | None = None,
                 headers: _Headers = None, timestamp: SupportsIndex | datetime | None = None, id: object = None,
                 callback: DeliveryCallback | None = None,
                 option: SendOption = SendOption.NoCopyRecordValue) -> Error | None: ...
    @overload
    def try_send(self, record: ProducerRecord, callback: DeliveryCallback | None = None,
                 option: SendOption = SendOption.NoCopyRecordValue) -> Error | None: ...
    @overload
    def send_future(self, topic: str, value: _Data, *, key: _Data = None, partition: SupportsIndex | None = None,
                    headers: _Headers = None, timestamp: SupportsIndex | datetime | None = None,
                    id: object = None, option: SendOption = SendOption.NoCopyRecordValue,
                    action: ActionWhileQueueIsFull | None = None,
                    timeout: _Timeout = None) -> Future[RecordMetadata]: ...
    @overload
    def send_future(self, record: ProducerRecord, option: SendOption = SendOption.NoCopyRecordValue, *,
                    action: ActionWhileQueueIsFull | None = None,
                    timeout: _Timeout = None) -> Future[RecordMetadata]: ...
    @overload
    def send_batch(self, topic: str, values: _Column, *, offsets: None = None, keys: _Column | _Data = None,
                   key_offsets: _Memory | None = None, partition: object = None, headers: _HeadersColumn = None,
                   timestamps: _Timestamps = None, callback: BatchCallback | None = None,
                   option: SendOption = SendOption.NoCopyRecordValue, timeout: _Timeout = None) -> Batch: ...
    @overload
    def send_batch(self, topic: str, values: _Memory, *, offsets: _Memory, keys: _Column | _Data = None,
                   key_offsets: _Memory | None = None, partition: object = None, headers: _HeadersColumn = None,
                   timestamps: _Timestamps = None, callback: BatchCallback | None = None,
                   option: SendOption = SendOption.NoCopyRecordValue, timeout: _Timeout = None) -> Batch: ...
    def poll_events(self, timeout: _Timeout = 0) -> int: ...
