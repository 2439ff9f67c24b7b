"""The pytest plugin, in a pytest of its own: what its fixtures give, what fails a test, and what it costs nobody."""
import re
from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def outcomes(pytester):
    """Runs tests, given as text; the counts of their outcomes (not when `bare`) and all that pytest printed."""
    def run(text, ini="", *arguments, bare=False):
        pytester.makeini(f"[pytest]\n{ini}")
        pytester.makepyfile(text)
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers", "-W", "error", *arguments, timeout=100)
        return {} if bare else result.parseoutcomes(), result.stdout.str() + result.stderr.str()

    return run


def test_the_plugin_is_registered():
    assert [entry.value for entry in entry_points(group="pytest11") if entry.name == "kafkapp"] == ["pytest_kafkapp"]


def test_a_pytest_that_does_not_use_it_imports_nothing_of_kafkapp(outcomes):
    assert outcomes("""
        import sys
        def test_it(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("kafkapp")
            assert [name for name in sys.modules if name.partition(".")[0] == "kafkapp"] == []
        """)[0] == {"passed": 1}


def test_it_can_be_left_out(outcomes):
    counts, said = outcomes("def test_it(kafka_cluster): pass", "", "-p", "no:kafkapp")
    assert counts == {"errors": 1} and "fixture 'kafka_cluster' not found" in said


def test_each_test_has_a_cluster_as_its_marker_and_the_ini_file_say(outcomes):
    counts, said = outcomes("""
        import pytest
        from kafkapp import KafkaAsyncProducer, KafkaSyncProducer
        seen = set()

        def partitions(cluster, topic):
            with KafkaSyncProducer({"bootstrap.servers": cluster.bootstrap_servers}) as producer:
                return len(producer.fetch_broker_metadata(topic).partitions)

        def test_ini(kafka_cluster, kafka_producer):
            assert kafka_cluster.brokers == 2 and isinstance(kafka_producer, KafkaAsyncProducer)
            assert (partitions(kafka_cluster, "orders"), partitions(kafka_cluster, "audit")) == (6, 4)
            kafka_producer.send("orders", "two apples", key="order-1", headers={"origin": "shop"})
            kafka_producer.flush(30)
            [record] = kafka_cluster.records("orders")
            assert (record.key, record.value, record.headers) == (b"order-1", b"two apples", [("origin", b"shop")])
            seen.add(kafka_cluster.bootstrap_servers)

        def test_another_is_empty(kafka_cluster):
            assert kafka_cluster.records("orders") == [] and kafka_cluster.bootstrap_servers not in seen

        @pytest.mark.kafka_cluster(brokers=3, topics={"own": 2})
        @pytest.mark.kafka_producer({"acks": 1}, sync=True)
        def test_marker(kafka_cluster, kafka_producer):
            assert kafka_cluster.brokers == 3 and partitions(kafka_cluster, "own") == 2
            assert isinstance(kafka_producer, KafkaSyncProducer) and kafka_producer.properties["acks"] == "1"
            assert kafka_producer.send("own", b"v").offset == 0

        @pytest.mark.kafka_cluster(topics=["a", "b"])
        def test_names(kafka_cluster):
            assert kafka_cluster.brokers == 2 and partitions(kafka_cluster, "b") == 4
        """, "kafka_cluster_brokers = 2\nkafka_cluster_topics =\n    orders:6\n    audit\n")
    assert counts == {"passed": 4}, said


def test_a_consumer_reads_from_the_beginning_what_its_marker_names(outcomes):
    counts, said = outcomes("""
        import pytest
        from kafkapp import KafkaConsumer

        @pytest.mark.kafka_consumer("orders", properties={"client.id": "its-own"})
        def test_marker(kafka_producer, kafka_consumer):
            assert isinstance(kafka_consumer, KafkaConsumer) and kafka_consumer.subscription() == {"orders"}
            assert kafka_consumer.client_id == "its-own"
            kafka_producer.send_batch("orders", ["first"] , partition=0).wait(30)
            [record] = kafka_consumer.poll(30)
            assert (record.topic, record.offset, str(record.value)) == ("orders", 0, "first")
            test_marker.consumer = kafka_consumer

        def test_without_topics_it_has_none(kafka_producer, kafka_consumer):
            assert test_marker.consumer.closed and kafka_consumer.subscription() == set()
            kafka_producer.send_batch("orders", ["first"], partition=0).wait(30)
            kafka_consumer.assign([("orders", 0)])
            assert len(kafka_consumer.poll(30)) == 1

        @pytest.mark.kafka_consumer("orders", properties=5)
        def test_wrong(kafka_consumer):
            pass
        """)
    assert counts == {"passed": 2, "errors": 1} and "properties must be a dict, not 5" in said, said


def test_undelivered_records_fail_the_test(outcomes):
    counts, said = outcomes("""
        import pytest
        from concurrent.futures import wait
        from kafkapp import ErrorCode, KafkaException, ProducerRecord
        reported = []
        DENIED = ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED

        @pytest.fixture
        def producer(kafka_cluster, kafka_producer):
            kafka_cluster.create_topic("t", 1)
            kafka_cluster.push_request_errors("PRODUCE", *[DENIED] * 20)
            return kafka_producer

        def test_topic_call(producer):
            producer.send("t", "pear" * 100, key="k1")
            producer.send("t", value=b"v2", callback=lambda metadata, error: reported.append(error))

        def test_record(producer):
            record = ProducerRecord("t", key=b"k3", value=b"v3")
            producer.send(record, lambda metadata, error: reported.append(error))
            record.value = b"another"
            assert producer.try_send(ProducerRecord("t", value=b"v4")) is None
            producer.send(record=ProducerRecord("t", value=b"v5"), callback=lambda metadata, error: reported.append(error))

        def test_future_and_batch(producer):
            future = producer.send_future("t", b"v6")
            producer.send_batch("t", ["a", "b"], callback=reported.append)
            producer.send_batch("t", [bytes(2_000_000)])

        @pytest.mark.kafka_producer(sync=True)
        def test_sync_batch(producer):
            producer.send_batch("t", ["c"])

        @pytest.mark.kafka_producer({"message.timeout.ms": 300, "delivery.report.only.error": True})
        def test_away(kafka_cluster, kafka_producer):
            kafka_cluster.broker_down(None)
            for number in range(13):
                kafka_producer.send("t", f"v{number}")

        @pytest.mark.kafka_producer(allow_undelivered=True)
        def test_allowed(producer):
            producer.send("t", b"allowed")

        @pytest.mark.kafka_producer(sync=True)
        def test_an_exception_is_seen_as_it_is(producer):
            with pytest.raises(KafkaException):
                producer.send("t", b"raised")

        def test_refused(producer):
            with pytest.raises(TypeError, match="callback must be"):
                producer.send("t", b"v", callback=5)
            with pytest.raises(TypeError):
                producer.send(5)
            with pytest.raises(TypeError):
                producer.send_batch("t", [b"v"], callback=5)
            with pytest.raises(ValueError):
                producer.send("t", bytes(2_000_000))

        def test_the_callbacks_came(kafka_cluster):
            assert len(reported) == 4
        """)
    assert counts == {"passed": 9, "errors": 5}, said
    refused = "Broker: Topic authorization failed"
    for line in (f"t: key 'k1', value '{'pear' * 25}'... of 400: {refused}", f"t: key None, value b'v2': {refused}",
                 f"t: key b'k3', value b'v3': {refused}", f"t: key None, value b'v4': {refused}", f"t: key None, value b'v5': {refused}",
                 f"t: {refused}", f"t: row 0 of a batch: {refused}", f"t: row 1 of a batch: {refused}",
                 "t: row 0 of a batch: Broker: Message size too large", "  and 3 more",
                 "13 of the records that kafka_producer sent were not delivered:", "@pytest.mark.kafka_producer(allow_undelivered=True)"):
        assert line in said, line
    assert "allowed'" not in said and "raised" not in said


@pytest.mark.parametrize("scope", ["class", "module", "session"])
def test_a_wider_scope_shares_the_cluster(outcomes, scope):
    counts, said = outcomes("""
        import pytest
        clusters = set()

        class TestShared:
            def test_one(self, kafka_cluster):
                clusters.add(kafka_cluster.bootstrap_servers)

            def test_two(self, kafka_cluster, kafka_producer):
                clusters.add(kafka_cluster.bootstrap_servers)
                assert len(clusters) == 1

            @pytest.mark.kafka_cluster(brokers=2)
            def test_marked(self, kafka_cluster):
                pass

        @pytest.mark.kafka_cluster(brokers=2)
        class TestMarked:
            def test_it(self, kafka_cluster):
                assert kafka_cluster.brokers == 2
        """, f"kafka_cluster_scope = {scope}")
    assert counts == ({"passed": 3, "errors": 1} if scope == "class" else {"passed": 2, "errors": 2}), said
    assert f"has no effect with kafka_cluster_scope = {scope}" in said


@pytest.mark.parametrize("marker, message", [
    ("kafka_cluster(broker=2)", "@pytest.mark.kafka_cluster: .*unexpected keyword argument 'broker'"),
    ("kafka_cluster(topics='orders')", r"@pytest.mark.kafka_cluster: topics must be names .* use \['orders'\]"),
    ("kafka_cluster(brokers=0)", "brokers must be 1 to 100, not 0"),
    ("kafka_cluster(topics={'orders': 0})", "partitions must be 1 to 10000, not 0"),
    ("kafka_producer(retries=2)", "@pytest.mark.kafka_producer: .*unexpected keyword argument 'retries'"),
    ("kafka_producer({'batch.sise': 2})", "batch.sise"),
    ("kafka_producer('acks=all')", "@pytest.mark.kafka_producer: properties must be a dict, not 'acks=all'"),
])
def test_a_wrong_marker_says_what_is_wrong(outcomes, marker, message):
    counts, said = outcomes(f"import pytest\n@pytest.mark.{marker}\ndef test_it(kafka_producer): pass")
    assert counts == {"errors": 1} and re.search(message, said), said


@pytest.mark.parametrize("ini, message", [
    ("kafka_cluster_scope = test", "kafka_cluster_scope must be one of function, class, module, package, session, not 'test'"),
    ("kafka_cluster_topics = orders:many", "kafka_cluster_topics: 'orders:many' must be NAME or NAME:PARTITIONS"),
    ("kafka_cluster_brokers = many", "kafka_cluster_brokers must be a number, not 'many'"),
])
def test_a_wrong_line_of_the_ini_file_says_what_is_wrong(outcomes, ini, message):
    assert message in outcomes("def test_it(kafka_cluster): pass", ini, bare=True)[1]


def test_the_fixtures_and_markers_are_listed(outcomes):
    said = "".join(outcomes("", "", option, bare=True)[1] for option in ("--fixtures", "--markers"))
    for text in ("kafka_producer -- ", "KafkaAsyncProducer for kafka_cluster", "@pytest.mark.kafka_cluster(brokers=1, topics=()): "):
        assert text in said
