"""The modern C++ Kafka API's unit tests, one for each row U1 to U15 of its list; docs/internals/parity.md maps them.

No broker. Each reads like the C++ test of its row; where kafkapp differs on purpose, the test says how.
"""
import re
from pathlib import Path

import pytest
from helpers import HELD, NOWHERE, properties

import kafkapp
from kafkapp import (
    BrokerMetadata,
    Error,
    ErrorCode,
    Header,
    KafkaException,
    Key,
    ProducerConfig,
    ProducerRecord,
    Properties,
    Timestamp,
    Value,
)
from kafkapp.common.cluster_metadata import Node, PartitionInfo
from kafkapp.stats import Statistics


def test_u01_record_with_specific_partition():
    record = ProducerRecord("topic1", 1, Key("key1"), Value("hello world"), 0,
                            headers=[Header("hk1", b"hv1"), Header("hk2", b"hv2")])
    assert (record.topic, record.partition, record.id) == ("topic1", 1, 0)
    assert str(record) == "topic1-1:0, headers[hk1:hv1,hk2:hv2], key1/hello world"
    record.value = Value("hi")
    record.headers.clear()
    assert str(record) == "topic1-1:0, key1/hi"
    record.id = None
    record.headers = [("hk1", b"hv1")]
    assert str(record) == "topic1-1: headers[hk1:hv1], key1/hi"


def test_u02_record_with_no_specific_partition():
    record = ProducerRecord("topic1", None, Key("key1"), Value("hello world"), 1000)
    assert record.partition is None
    assert str(record) == "topic1-NA:1000, key1/hello world"


def test_u03_headers_are_views_and_print_as_pairs():
    key, value = "k1", bytearray(b"v1")
    header = Header(key, value)
    assert header.key is key and header.value is value
    value[:] = b"v2"
    assert str(header) == "k1:v2"
    record = ProducerRecord("t", headers=[Header("k1", b"v1"), Header("k2", b"v2"), Header("k3", b"v3")])
    assert "headers[k1:v1,k2:v2,k3:v3]" in str(record)
    assert str(Header("k", None)) == "k:[null]"
    with pytest.raises(TypeError):      # C++ has one of no name and no value by default: here both are to be given
        Header()


def test_u04_a_buffer_is_the_callers_memory():
    data = bytearray(b"hello\0world")
    for view in (Key(data), Value(data)):
        assert view.data is data and view.size == len(view) == 11
        assert str(view) == "hello[0x00]world"
        with memoryview(view) as memory:
            data[0:1] = b"H"
            assert bytes(memory) == b"Hello\0world"
        data[0:1] = b"h"
    assert (str(Value()), str(Value(b""))) == ("[null]", "[empty]")


def test_u05_topics_and_partitions_are_plain_tuples_and_print_as_in_cpp():
    """The C++ names are aliases of std::pair and std::tuple: here they are Python's own, and the texts are records'."""
    assert str(ProducerRecord("topic1", 0, value=b"v")).startswith("topic1-0:")
    with kafkapp.KafkaAsyncProducer(properties(NOWHERE, transactional_id="u5")) as producer:
        for offsets in ([("topic1", 1, 10), ("topic2", 2, 20)], {("topic1", 1, 10)}, iter([["topic1", 1, 10]])):
            with pytest.raises(KafkaException) as failure:      # well formed: librdkafka was asked
                producer.send_offsets_to_transaction(offsets, ("group", -1, "", None), 1)
            assert failure.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__STATE
        with pytest.raises(TypeError, match=re.escape("('topic1', 1)")):
            producer.send_offsets_to_transaction([("topic1", 1)], ("group", -1, "", None), 1)


def test_u06_timestamps_tell_their_type():
    ms = 1577934245123      # 2020-01-02 03:04:05.123 UTC
    moment = r"2020-01-\d\d \d\d:\d\d:05\.123"
    assert re.fullmatch(moment, str(Timestamp(ms, Timestamp.Type.NotAvailable)))
    assert re.fullmatch(rf"CreateTime\[{moment}\]", str(Timestamp(ms, Timestamp.Type.CreateTime)))
    assert re.fullmatch(rf"LogAppendTime\[{moment}\]", str(Timestamp(ms, Timestamp.Type.LogAppendTime)))
    assert [kind.name for kind in map(Timestamp.Type, range(3))] == ["NotAvailable", "CreateTime", "LogAppendTime"]
    assert Timestamp(ms).datetime.isoformat() == "2020-01-02T03:04:05.123000+00:00"


def test_u07_properties_put_get_erase_and_print_sorted():
    props = Properties().put("p2", "v2").put("p1", "v1").put("p3", "v3")
    assert props.get_property("p1") == "v1" and props.get_property("p4") is None
    assert str(props) == "p1=v1|p2=v2|p3=v3"
    props.erase_property("p2")
    assert str(props) == "p1=v1|p3=v3" and len(props) == 2
    assert props == Properties([("p1", "v1"), ("p3", "v3")]) == Properties({"p3": "v3", "p1": "v1"}) == props.copy()
    called = []
    props.put("stats_cb", called.append)
    props["stats_cb"]("{}")
    assert called == ["{}"]


def test_u08_producer_config_prints_its_names():
    config = ProducerConfig([(ProducerConfig.BOOTSTRAP_SERVERS, "127.0.0.1:9000,127.0.0.1:9001"),
                             (ProducerConfig.LINGER_MS, "20"), (ProducerConfig.ENABLE_IDEMPOTENCE, "true")])
    assert str(config) == "bootstrap.servers=127.0.0.1:9000,127.0.0.1:9001|enable.idempotence=true|linger.ms=20"


@pytest.mark.parametrize("name", ["ssl.key.password", "ssl.key.pem", "ssl.certificate.pem", "ssl.keystore.key", "sasl.username",
                                  "sasl.password", "sasl.oauthbearer.client.secret", "ssl.keystore.password"])
def test_u09_sensitive_properties_are_masked(name):
    props = Properties({name: "hunter2", "open": "seen"})
    for text in (str(props), repr(props)):
        assert "hunter2" not in text and "*" in text and "seen" in text
    assert props[name] == "hunter2"


def test_u10_a_callback_under_a_wrong_name_and_a_text_under_a_callbacks_raise():
    for wrong in ({"log_cb": "text"}, {"acks": print}, {"error_cb": 5}):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            Properties(wrong)
        with pytest.raises(TypeError, match=next(iter(wrong))):
            Properties().put(*next(iter(wrong.items())))


DEFAULTS = {"queue.buffering.max.messages": "100000", "queue.buffering.max.kbytes": "1048576", "linger.ms": "5",
            "batch.num.messages": "10000", "batch.size": "1000000", "message.max.bytes": "1000000", "acks": "-1",
            "message.timeout.ms": "300000", "request.timeout.ms": "30000", "partitioner": "murmur2_random",
            "security.protocol": "plaintext", "max.in.flight": "1000000", "enable.idempotence": "false"}


@pytest.mark.parametrize("kind, more, changed", [
    (kafkapp.KafkaAsyncProducer, {}, {}),
    (kafkapp.KafkaAsyncProducer, {"enable.idempotence": True}, {"enable.idempotence": "true", "max.in.flight": "5"}),
    (kafkapp.KafkaSyncProducer, {}, {"linger.ms": "0"}),
    # Here C++ puts its own 0 over what the user set.
    (kafkapp.KafkaSyncProducer, HELD, {"linger.ms": "60000"}),
])
def test_u11_default_properties(kind, more, changed):
    with kind(properties(NOWHERE, more, {"log_level": 0})) as producer:
        assert {name: producer.get_property(name) for name in DEFAULTS} == DEFAULTS | changed
        assert producer.get_property("invalid.key") is None
        assert producer.get_property("debug") in (None, "")     # C++ (early) forces "all"


def test_u12_error_codes_and_their_texts():
    assert not Error() and Error().code == ErrorCode.RD_KAFKA_RESP_ERR_NO_ERROR and Error().message == "Success"
    for code, number, text in ((ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT, -185, "Local: Timed out"),
                               (ErrorCode.RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, 7, "Broker: Request timed out")):
        error = Error(code)
        assert error and error.code == code == number
        assert error.message == code.description == text
        assert str(error) == f"{text} [{number}]"


def test_u13_an_exception_says_what_happened():
    timed_out = ErrorCode.RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
    assert str(KafkaException(timed_out)) == "Broker: Request timed out [7]"
    # No file, line and time, which C++ adds: Python's traceback and logging have them.
    failure = KafkaException(timed_out, "something wrong here")
    assert str(failure) == "Broker: Request timed out [7] | something wrong here"
    assert failure.error == Error(timed_out, "something wrong here") and isinstance(failure, TimeoutError)


def test_u14_broker_metadata_prints_as_in_cpp():
    nodes = [Node(number, f"server{number}", 9092) for number in (1, 2, 3)]
    assert str(nodes[0]) == "server1:9092/1"
    partitions = {1: PartitionInfo(nodes[1], nodes[:2], nodes[1:2]), 0: PartitionInfo(nodes[0], nodes[:2], nodes[:2])}
    metadata = BrokerMetadata("topic1", nodes, partitions, nodes[2])
    assert str(metadata) == (
        "originatingNode[server3:9092/3], topic[topic1], partitions{"
        "0: leader[server1:9092/1], replicas[server1:9092/1, server2:9092/2], "
        "inSyncReplicas[server1:9092/1, server2:9092/2]; "
        "1: leader[server2:9092/2], replicas[server1:9092/1, server2:9092/2], inSyncReplicas[server2:9092/2]}")
    unknown = BrokerMetadata("topic1", nodes[:1], {0: PartitionInfo(nodes[0], [nodes[0], Node(2)], [Node(2)])})
    assert str(unknown) == ("topic[topic1], partitions{0: leader[server1:9092/1], "
                            "replicas[server1:9092/1, -:-/2], inSyncReplicas[-:-/2]}")


def test_the_table_of_rows_names_every_row_and_only_tests_that_are_there():
    root = Path(__file__).resolve().parents[2]
    table = (root / "docs" / "internals" / "parity.md").read_text()
    named = re.findall(r"`(test_[uirtx]\d\w+)` \| (\S+) \|", table)
    for test, file in named:
        assert f"def {test}(" in (root / file).read_text(), test
    rows = set(re.findall(r"^\| ([UIRTX]\d+) ", table, re.M))
    wanted = {"U": 15, "I": 17, "R": 9, "T": 4, "X": 10}
    assert rows == {f"{letter}{number}" for letter, most in wanted.items() for number in range(1, most + 1)}


def test_u15_statistics_are_found_by_their_path():
    """KafkaMetrics::getInt() and getString(), where "*" stands for any name; all of it has typed attributes beside that."""
    statistics = Statistics("""{"name": "x#producer-1", "ts": 5, "brokers": {
        "h:1/1": {"nodename": "h:1", "req": {"Produce": 3, "Metadata": 1}}, "h:2/2": {"nodename": "h:2", "req": {"Produce": 7}}},
        "topics": {"t": {"partitions": {"0": {"txmsgs": 1}, "1": {"txmsgs": 2}}}}}""")
    assert statistics.find("ts") == [((), 5)] and statistics.ts == 5
    assert statistics.find("brokers", "*", "nodename") == [(("h:1/1",), "h:1"), (("h:2/2",), "h:2")]
    assert statistics.find("brokers", "*", "req", "*") == [
        (("h:1/1", "Produce"), 3), (("h:1/1", "Metadata"), 1), (("h:2/2", "Produce"), 7)]
    assert statistics.find("topics", "t", "partitions", "*", "txmsgs") == [(("0",), 1), (("1",), 2)]
    assert statistics.find("nobody") == statistics.find("brokers", "*", "nobody") == statistics.find("ts", "*") == []
    assert statistics.topics["t"].partitions[1].txmsgs == 2 and statistics.brokers["h:2/2"].req == {"Produce": 7}
