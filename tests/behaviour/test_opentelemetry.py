"""kafkapp.opentelemetry: a span for each send, which ends once, with the delivery report; the context in the headers."""
import inspect
import threading

import pytest
from helpers import HELD, Reports, properties, wait_for

import kafkapp
from kafkapp import ActionWhileQueueIsFull, ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, KafkaSyncProducer, ProducerRecord, SendOption
from kafkapp.testing import ApiKey

pytest.importorskip("opentelemetry.sdk")
from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from spans import DEAD, QUIET, assert_delivered, failed, parent_header, spans_fixture  # noqa: F401

from kafkapp.opentelemetry import traced
from kafkapp.opentelemetry.producers import TracedSends

# -- one record --------------------------------------------------------------------------------------------------------

def send_async(producer, reports, *arguments, **named):
    producer.send(*arguments, callback=reports, **named)
    producer.flush(30)


def send_tried(producer, reports, *arguments, **named):
    assert producer.try_send(*arguments, callback=reports, **named) is None
    producer.flush(30)


def send_future(producer, reports, *arguments, **named):
    reports(producer.send_future(*arguments, **named).result(30), None)


def send_sync(producer, reports, *arguments, **named):
    reports(producer.send(*arguments, **named), None)


WAYS = {"send": (KafkaAsyncProducer, send_async), "try_send": (KafkaAsyncProducer, send_tried), "send_future": (KafkaAsyncProducer, send_future),
        "sync": (KafkaSyncProducer, send_sync)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", ["topic", "record", "by name"])
def test_a_record_has_a_span_and_its_context(cluster, topic, spans, way, form):
    cls, send = WAYS[way]
    reports = Reports()
    with spans.traced(cls)(properties(cluster, {"client.id": "orders"})) as producer:
        headers = [("a", b"1")]
        if form == "topic":
            send(producer, reports, topic, b"v", key="k", partition=1, headers=headers, id=5)
        elif form == "record":
            send(producer, reports, ProducerRecord(topic, 1, "k", b"v", 5, headers=headers))
        else:
            send(producer, reports, **{"record": ProducerRecord(topic, 1, "k", b"v", 5, headers=headers)} if way == "sync" else
                 {"topic": topic, "value": b"v", "key": "k", "partition": 1, "headers": headers, "id": 5})
    (metadata, error), = reports.calls
    assert error is None and metadata.record_id == 5
    span = spans.one()
    assert_delivered(span, topic, "orders", **{"messaging.destination.partition.id": "1", "messaging.kafka.offset": metadata.offset,
                                               "messaging.kafka.message.key": "k"})
    [record] = cluster.records(topic)
    assert (record.key, record.value, record.partition) == (b"k", b"v", 1)
    assert record.headers == [("a", b"1"), ("traceparent", parent_header(span))]


def test_the_current_span_is_the_parent(cluster, topic, spans):
    tracer = spans.provider.get_tracer("test")
    with spans.traced(KafkaSyncProducer)(properties(cluster)) as producer, tracer.start_as_current_span("request") as request:
        producer.send(topic, b"v")
    of_send, of_request = spans.ended
    assert of_send.parent.span_id == request.get_span_context().span_id and of_send.context.trace_id == of_request.context.trace_id


def test_the_span_ends_with_the_report_and_not_before(cluster, topic, spans):
    with spans.traced(KafkaAsyncProducer)(properties(cluster, HELD)) as producer:
        producer.send(topic, b"v")
        assert spans.ended == ()
        producer.flush(30)
        assert len(spans.ended) == 1


def test_with_manual_polling_it_ends_when_the_report_is_dispatched(cluster, topic, spans):
    with spans.traced(KafkaAsyncProducer)(properties(cluster), EventsPollingOption.Manual) as producer:
        producer.send(topic, b"v")
        assert wait_for(lambda: producer.poll_events(1), 60) == 1
        assert len(spans.ended) == 1


def test_the_users_record_is_not_changed_and_a_foreign_context_is_replaced(cluster, topic, spans):
    record = ProducerRecord(topic, 0, value=b"v", headers=[("traceparent", b"of another trace"), ("b", None)])
    with spans.traced(KafkaSyncProducer)(properties(cluster)) as producer:
        producer.send(record)
        producer.send(record)
    assert [(header.key, header.value) for header in record.headers][0][0] == "traceparent" and len(record.headers) == 2
    for sent, span in zip(cluster.records(topic), spans.ended, strict=True):
        assert sent.headers == [("b", None), ("traceparent", parent_header(span))]


@pytest.mark.parametrize("key, value, attributes", [
    (None, b"v", {}), (b"\xff", b"v", {}), ("ключ", b"v", {"messaging.kafka.message.key": "ключ"}),
    ("k", None, {"messaging.kafka.message.key": "k", "messaging.kafka.message.tombstone": True})])
def test_keys_and_tombstones(cluster, topic, spans, key, value, attributes):
    with spans.traced(KafkaSyncProducer)(properties(cluster)) as producer:
        producer.send(topic, value, key=key)
    attributes_of = spans.one().attributes
    assert {name: attributes_of[name] for name in attributes_of if ".message." in name} == attributes


def test_the_callback_gets_what_it_would(cluster, topic, spans):
    reports = Reports()
    cls = spans.traced(KafkaAsyncProducer)
    with cls(properties(cluster)) as producer:
        producer.send(ProducerRecord(topic, value=b"v", id=1), reports)
        producer.send(ProducerRecord(topic, value=b"v", id=2), reports, SendOption.ToCopyRecordValue)
        producer.send(ProducerRecord(topic, value=b"v", id=3), callback=reports, timeout=5, action=ActionWhileQueueIsFull.Block)
        producer.send(topic, b"v", id=4, callback=reports, option=SendOption.ToCopyRecordValue)
        producer.send(topic=topic, value=b"v", id=5)
    assert {metadata.record_id for metadata, _ in reports.calls} == {1, 2, 3, 4} and len(spans.ended) == 5


def test_an_exception_of_the_callback_is_the_producers_to_report(cluster, topic, spans):
    def callback(metadata, error):
        raise ZeroDivisionError

    with spans.traced(KafkaAsyncProducer)(properties(cluster), EventsPollingOption.Manual) as producer:
        producer.send(topic, b"v", callback=callback)
        with pytest.raises(ZeroDivisionError):
            producer.flush(30)
    assert spans.one().status.status_code is StatusCode.UNSET, "the record is delivered"


# -- failures ----------------------------------------------------------------------------------------------------------

def test_a_record_that_expires(spans):
    with spans.traced(KafkaAsyncProducer)(DEAD | {"message.timeout.ms": 50}) as producer:
        producer.send("t", b"v")
    assert failed(spans.one(), ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT) and "messaging.kafka.offset" not in spans.one().attributes


def test_a_record_that_a_broker_refuses(cluster, topic, spans):
    with spans.traced(KafkaSyncProducer)(properties(cluster, QUIET)) as producer:
        cluster.push_request_errors(ApiKey.Produce, ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        with pytest.raises(KafkaException):
            producer.send(topic, b"v")
    assert failed(spans.one(), ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)


@pytest.mark.parametrize("how", ["purge", "close"])
def test_records_that_are_purged(spans, how):
    with spans.traced(KafkaAsyncProducer)(DEAD | HELD) as producer:
        for _ in range(100):
            producer.send("t", b"v")
        producer.send_batch("t", [b"v"] * 3)
        if how == "purge":
            producer.purge()
        else:
            producer.close(0)
    assert len(spans.ended) == 101
    assert all(failed(span, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE) for span in spans.ended)


def test_a_synchronous_send_that_times_out(spans):
    with spans.traced(KafkaSyncProducer)(DEAD | HELD) as producer:
        with pytest.raises(TimeoutError):
            producer.send("t", b"v", timeout=0.05)
        producer.purge()
    assert failed(spans.one(), ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT)


def test_a_full_queue(spans):
    reports = Reports()
    with spans.traced(KafkaAsyncProducer)(DEAD | HELD | {"queue.buffering.max.messages": 1}) as producer:
        producer.send("t", b"v", callback=reports)
        assert producer.try_send("t", b"v", callback=reports).code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
        for send in (producer.send, producer.send_future):
            with pytest.raises(BufferError):
                send("t", b"v", timeout=0.01)
        assert len(spans.ended) == 3 and all(failed(span, ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL) for span in spans.ended)
        batch = producer.send_batch("t", [b"v"] * 2, timeout=0, callback=reports)
        assert batch.accepted == 0 and failed(spans.ended[-1], ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL)
        producer.purge()
        producer.flush(30)
    assert len(reports.calls) == 1 and len(spans.ended) == 5


def test_a_closed_producer(spans):
    producer = spans.traced(KafkaAsyncProducer)(DEAD)
    producer.close()
    for call in (producer.send, producer.try_send, producer.send_future):
        with pytest.raises(RuntimeError):
            call("t", b"v")
    with pytest.raises(RuntimeError):
        producer.send_batch("t", [b"v"])
    assert [span.attributes["error.type"] for span in spans.ended] == ["RuntimeError"] * 4


MALFORMED = [(), ("t",), (5,), ("t", b"v", print), ("t", print), ("t", 5), (ProducerRecord("t"), 5), (ProducerRecord("t"), None, 5), (None,),
             (ProducerRecord("t"), print, None, 5)]
MALFORMED_BY_NAME = [{"topic": "t"}, {"value": b"v"}, {"topic": 5, "value": b"v"}, {"topic": "t", "value": b"v", "nix": 5},
                     {"topic": "t", "value": b"v", "callback": 5}, {"topic": "t", "value": b"v", "headers": 5}, {"record": 5}]


def says(call, *arguments, **named):
    try:
        return call(*arguments, **named)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("cls", [KafkaAsyncProducer, KafkaSyncProducer])
def test_a_malformed_call_raises_what_it_would(spans, cls):
    more = DEAD | HELD | {"message.timeout.ms": 90000}
    plain, observed = cls(more), spans.traced(cls)(more)
    try:
        for name in ("send", "try_send", "send_future") if cls is KafkaAsyncProducer else ("send",):
            for arguments, named in [*((row, {}) for row in MALFORMED), *(((), row) for row in MALFORMED_BY_NAME), (("t", b"v"), {"topic": "t"})]:
                if cls is KafkaSyncProducer and len(arguments) == 2 and arguments[1] == 5 and isinstance(arguments[0], ProducerRecord):
                    continue        # its second is a timeout
                assert says(getattr(observed, name), *arguments, **named) == says(getattr(plain, name), *arguments, **named), (name, arguments, named)
        assert len(plain) == len(observed) == 0
        for arguments, named in [((), {}), ((5, [b"v"]), {}), (("t", 5), {}), (("t", [b"v"]), {"callback": 5}), (("t", [b"v"]), {"headers": 5}),
                                 (("t", [b"v"]), {"headers": [("a", b"1", b"2")]}), (("t", [b"v"]), {"headers": [5]}), (("t", [b"v"]), {"nix": 5})]:
            assert says(observed.send_batch, *arguments, **named) == says(plain.send_batch, *arguments, **named), (arguments, named)
        assert len(plain) == len(observed) == 0
    finally:
        for producer in plain, observed:
            producer.purge()
            producer.close(1)
    assert all(span.status.status_code is StatusCode.ERROR for span in spans.ended)


def test_only_failures_are_reported(cluster, topic, spans):
    """With delivery.report.only.error a record without a report is delivered: its span ends when its callback is dropped."""
    with spans.traced(KafkaAsyncProducer)(properties(cluster, {"delivery.report.only.error": True})) as producer:
        producer.send(topic, b"v")
        producer.send_batch(topic, [b"v"])
        producer.flush(30)
    assert len(spans.ended) == 2 and {span.status.status_code for span in spans.ended} == {StatusCode.UNSET}


# -- batches -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cls", [KafkaAsyncProducer, KafkaSyncProducer])
@pytest.mark.parametrize("headers", [None, [("a", b"1")], {"a": b"1"}, ()])
def test_a_batch_has_one_span(cluster, topic, spans, cls, headers):
    done = []
    with spans.traced(cls)(properties(cluster, {"client.id": "orders"})) as producer:
        batch = producer.send_batch(topic, [b"a", b"b", b"c"], headers=headers, callback=done.append)
        producer.flush(30)
    assert done == [batch]
    assert_delivered(spans.one(), topic, "orders", **{"messaging.batch.message_count": 3})
    assert [record.headers for record in cluster.records(topic)] == [[*([("a", b"1")] if headers else []), ("traceparent", parent_header(spans.one()))]] * 3


def test_a_batch_with_headers_of_each_record(cluster, topic, spans):
    rows = [None, {"a": b"1"}, [("traceparent", b"another"), ("b", b"2")]]
    with spans.traced(KafkaAsyncProducer)(properties(cluster)) as producer:
        producer.send_batch(topic, [b"a", b"b", b"c"], headers=rows, partition=0)
        with pytest.raises(TypeError, match=r"headers\[1\]"):
            producer.send_batch(topic, [b"a", b"b"], headers=[None, 5])
        producer.flush(30)
    context = ("traceparent", parent_header(spans.ended[-1]))
    assert [record.headers for record in cluster.records(topic)] == [[context], [("a", b"1"), context], [("b", b"2"), context]]
    assert rows == [None, {"a": b"1"}, [("traceparent", b"another"), ("b", b"2")]]


def test_arrow_headers_stay_as_they_are(cluster, topic, spans):
    pa = pytest.importorskip("pyarrow")
    column = pa.array([[("a", b"1")], None], pa.map_(pa.string(), pa.binary()))
    with spans.traced(KafkaAsyncProducer)(properties(cluster)) as producer:
        producer.send_batch(topic, [b"a", b"b"], headers=column, partition=0)
        producer.flush(30)
    assert [record.headers for record in cluster.records(topic)] == [[("a", b"1")], []] and len(spans.ended) == 1


def test_a_batch_of_which_some_fail(cluster, topic, spans):
    with spans.traced(KafkaAsyncProducer)(properties(cluster, QUIET | {"message.max.bytes": 1000})) as producer:
        batch = producer.send_batch(topic, [b"a", b"b" * 2000, b"c"])
        producer.flush(30)
    assert batch.accepted == 2 and failed(spans.one(), ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
    assert spans.one().status.description.startswith("1 of 3 records failed, the first: ")


# -- which calls, which classes ------------------------------------------------------------------------------------------

def test_what_an_exporter_sends_has_no_span(cluster, topic, spans):
    token = context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        with spans.traced(KafkaAsyncProducer)(properties(cluster)) as producer:
            producer.send(topic, b"v")
            producer.send_batch(topic, [b"v"])
            producer.flush(30)
    finally:
        context.detach(token)
    assert spans.ended == () and [record.headers for record in cluster.records(topic)] == [[], []]


def test_what_is_not_sampled_is_sent_with_its_context(cluster, topic):
    with traced(KafkaSyncProducer, TracerProvider(sampler=ALWAYS_OFF))(properties(cluster)) as producer:
        producer.send(topic, b"v")
    [record] = cluster.records(topic)
    assert record.headers[0][0] == "traceparent" and int(record.headers[0][1][-2:], 16) & 1 == 0


def test_without_an_sdk_nothing_is_added(cluster, topic):
    with traced(KafkaSyncProducer, trace.NoOpTracerProvider())(properties(cluster)) as producer:
        producer.send(topic, b"v")
    assert cluster.records(topic)[0].headers == []


def test_a_subclass_can_be_traced(cluster, topic, spans):
    class Orders(KafkaAsyncProducer):
        def send_order(self, value):
            self.send(topic, value)

    cls = spans.traced(Orders)
    assert (cls.__name__, cls.__qualname__, cls.__module__) == (Orders.__name__, Orders.__qualname__, __name__) and issubclass(cls, Orders)
    with cls(properties(cluster)) as producer:
        producer.send_order(b"v")
    assert len(spans.ended) == 1


def test_a_subclass_may_send_in_its_own_way(cluster, topic, spans):
    class Orders(KafkaAsyncProducer):
        def send(self, order, *, urgent=False):
            super().send(topic, f"{order}{'!' * urgent}", key="k")

        def try_send(self, record, callback=None):
            super().send(record, callback)

    reports = Reports()
    with spans.traced(Orders)(properties(cluster)) as producer:
        producer.send(5, urgent=True)
        producer.try_send(ProducerRecord(topic, value=b"v"), reports)
        producer.flush(30)
        assert isinstance(producer, TracedSends) and type(producer).send is Orders.send
    assert len(reports.calls) == 1 and len(spans.ended) == 2
    records = cluster.records(topic)
    assert {record.value for record in records} == {b"5!", b"v"}
    assert {record.headers[0][1] for record in records} == {parent_header(span) for span in spans.ended}


def test_a_traced_class_is_one_already(spans):
    cls = spans.traced(KafkaAsyncProducer)
    assert traced(cls) is cls and issubclass(cls, TracedSends) and not issubclass(KafkaAsyncProducer, TracedSends)
    assert repr(cls) == "<class 'kafkapp.KafkaAsyncProducer'>" and inspect.getdoc(cls) == inspect.getdoc(KafkaAsyncProducer)


@pytest.mark.parametrize("thing", [5, None, object, kafkapp.ProducerRecord, KafkaAsyncProducer.send])
def test_nothing_else_can_be_traced(thing):
    with pytest.raises(TypeError, match=r"traced\(\) takes KafkaAsyncProducer"):
        traced(thing)


def test_spans_of_many_threads_end_once(cluster, topic, spans):
    with spans.traced(KafkaAsyncProducer)(properties(cluster)) as producer:
        threads = [threading.Thread(target=lambda: [producer.send(topic, b"v") for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(spans.ended) == 2000 == len({span.context.span_id for span in spans.ended})
    assert {record.headers[0][1] for record in cluster.records(topic)} == {parent_header(span) for span in spans.ended}
