"""kafkapp.prometheus: what a scrape over HTTP gets of real producers; names, units, bounds, and clients that are gone."""
import json
import os
import re
import signal
import threading
import urllib.request
from contextlib import contextmanager

import pytest
from helpers import NOWHERE, ROOT, properties, run_python, wait_for

from kafkapp import KafkaAsyncProducer, KafkaSyncProducer
from kafkapp.client.client import clients

prometheus_client = pytest.importorskip("prometheus_client")
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.openmetrics.exposition import generate_latest as as_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from kafkapp.prometheus import KafkaCollector
from kafkapp.prometheus.families import LABELS

QUIET = {"log_level": 0, "error_cb": lambda error: None, "log_cb": lambda *line: None}


@contextmanager
def scraped(**more):
    """A collector, and a function that fetches its metrics over HTTP: {name: {labels: value}}."""
    registry = CollectorRegistry()
    collector = KafkaCollector(registry, **more)
    server, thread = start_http_server(0, "127.0.0.1", registry)

    def scrape():
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=30) as page:
            return samples(page.read().decode())

    try:
        yield collector, scrape
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


def samples(text):
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
            assert len(found[sample.name]) == len({*found[sample.name]})
    return found


def observed(cluster, collector, **named):
    return properties(cluster, {"stats_cb": collector, "statistics.interval.ms": 50, **QUIET}, **named)


def value(scraped, name, *labels):
    return scraped.get(f"kafkapp_{name}", {}).get(labels)


@pytest.mark.parametrize("kind", [KafkaAsyncProducer, KafkaSyncProducer])
def test_a_scrape_has_the_figures_of_a_producer(broker, topic, kind):
    with scraped() as (collector, scrape), kind(observed(broker, collector, client_id="orders")) as producer:
        for _ in range(50):
            producer.send(topic, b"v" * 100)
        producer.flush(30)
        name = producer.name
        assert re.fullmatch(r"orders#producer-\d+", name)
        found = wait_for(lambda: (found := scrape()) and value(found, "sent_records_total", name) == 50 and found, 60)
        assert value(found, "outstanding_records", name) == 0 and value(found, "queue_limit_records", name) == 100_000
        assert value(found, "brokers_up", name) == 1 == value(found, "broker_up", "1", name)
        assert value(found, "topic_sent_records_total", name, topic) == 50
        assert value(found, "topic_sent_records_bytes_total", name, topic) >= 5000
        assert value(found, "broker_requests_total", "1", name) == value(found, "requests_total", name) > 0
        assert value(found, "topics_left_out", name) == 0
        assert not [name for name in found if "partition" in name]
    with scraped() as (collector, scrape):
        assert not [labels for name, series in scrape().items() if name.startswith("kafkapp") for labels in series], "another registry"


def test_latencies_are_seconds_and_quantiles(cluster, topic):
    cluster.set_rtt(None, 0.1)
    with scraped() as (collector, scrape), KafkaAsyncProducer(observed(cluster, collector, linger_ms=0)) as producer:
        def quantiles():
            producer.send(topic, b"v")
            found = scrape().get("kafkapp_broker_rtt_seconds", {})
            return found if len(found) == 3 and max(found.values()) > 0.09 else None

        found = wait_for(quantiles, 60)
        assert {labels[2] for labels in found} == {"0.5", "0.9", "0.99"} and {labels[:2] for labels in found} == {("1", producer.name)}
        assert 0.09 < max(found.values()) < 60
    assert KafkaCollector(None)._families()        # of no registry


def text_of(name, topics=(), partitions=2):
    window = {"cnt": 4, "p50": 1000, "p90": 2000, "p99": 3000}
    numbers = dict.fromkeys(("outbuf_cnt", "waitresp_cnt", "tx", "txbytes", "txerrs", "txretries", "req_timeouts", "rx", "rxbytes",
                             "rxerrs", "connects", "disconnects"), 7)
    latencies = dict.fromkeys(("int_latency", "outbuf_latency", "rtt", "throttle"), window)
    of_partition = dict.fromkeys(("msgq_cnt", "msgq_bytes", "msgs_inflight", "txmsgs", "txbytes"), 3)
    one = dict.fromkeys(("msg_cnt", "msg_size", "msg_max", "msg_size_max", "replyq", "tx", "tx_bytes", "rx", "rx_bytes", "txmsgs", "txmsg_bytes"), 5)
    one["brokers"] = {str(number): {"nodeid": node, "source": source, "state": state} | numbers | latencies for number, (node, source, state)
                      in enumerate([(1, "learned", "UP"), (2, "learned", "DOWN"), (-1, "configured", "UP"), (-1, "internal", "UP"), (1, "logical", "UP")])}
    one["topics"] = {topic: {"batchsize": window, "batchcnt": window, "partitions": dict.fromkeys([*map(str, range(partitions)), "-1"], of_partition)}
                     for topic in topics}
    return json.dumps(one | {"name": name})


class Open:
    """A client, for what asks which are open."""

    def __init__(self, name):
        self.name = name


@pytest.fixture
def opened(monkeypatch):
    """The names of clients that are taken for open."""
    names = []
    monkeypatch.setattr("kafkapp.prometheus.collector.clients", names)
    return lambda *new: names.__setitem__(slice(None), map(Open, new))


def collected(collector):
    return {(sample.name, *sample.labels.values()): sample.value for family in collector.collect() for sample in family.samples}


def test_the_number_of_series_is_what_the_docstring_says(opened):
    opened("a")
    collector = KafkaCollector(None)
    collector(text_of("a", ["t", "u"]))
    assert len(collected(collector)) == 13 + 2 * 25 + 2 * 11
    collector = KafkaCollector(None, partitions=True, max_topics=1)
    collector(text_of("a", ["t", "u"]))
    found = collected(collector)
    assert len(found) == 13 + 2 * 25 + 11 + 2 * 4 and found["kafkapp_partition_sent_records_total", "a", "t", "1"] == 3
    numbers = re.findall(r"\d+ (?=for)", " ".join(KafkaCollector.__doc__.split()))
    assert numbers == ["13 ", "25 ", "11 ", "4 "]


def test_brokers_have_their_ids(opened):
    opened("a")
    collector = KafkaCollector(None)
    collector(text_of("a"))
    found = collected(collector)
    assert {key[2]: up for key, up in found.items() if key[0] == "kafkapp_broker_up"} == {"1": 1, "2": 0}
    assert found["kafkapp_brokers_up", "a"] == 1
    assert found["kafkapp_broker_rtt_seconds", "a", "1", "0.99"] == pytest.approx(0.003)
    assert found["kafkapp_broker_throttle_seconds", "a", "1", "0.99"] == pytest.approx(3)


def test_what_another_librdkafka_does_not_write_has_no_series(opened):
    opened("a")
    collector = KafkaCollector(None)
    text = text_of("a", ["t"])
    collector(text)
    before = collected(collector)
    for field in "txretries", "rtt", "msg_max", "batchsize", "msgs_inflight":
        collector(text.replace(f'"{field}"', '"new"'))
        lost = {name for name, *_labels in before.keys() - collected(collector).keys()}
        assert len(lost) == 1, field


def topics_of(collector):
    return {key[2] for key in collected(collector) if key[0] == "kafkapp_topic_sent_records_total"}


def test_topics_are_bounded_and_stay(opened):
    opened("a", "b")
    collector = KafkaCollector(None, max_topics=3)
    collector(text_of("a", ["t1", "t2"]))
    assert topics_of(collector) == {"t1", "t2"}
    collector(text_of("b", ["t3", "t4", "t5"]))
    assert topics_of(collector) == {"t1", "t2", "t3"}
    collector(text_of("a", ["t9", "t1", "t2"]))
    assert topics_of(collector) == {"t1", "t2", "t3"}
    found = collected(collector)
    assert (found["kafkapp_topics_left_out", "a"], found["kafkapp_topics_left_out", "b"]) == (1, 2)
    assert found["kafkapp_sent_records_total", "b"] == 5, "all of them are in the client's"
    opened("b")
    assert topics_of(collector) == {"t3", "t4", "t5"}, "those of a client that is gone make room"
    assert topics_of(KafkaCollector(None, max_topics=0)) == set()


def test_a_client_that_is_gone_has_no_series(broker, topic):
    with scraped() as (collector, scrape):
        with KafkaAsyncProducer(observed(broker, collector)) as kept:
            with KafkaAsyncProducer(observed(broker, collector)) as producer:
                wait_for(lambda: scrape().get("kafkapp_outstanding_records", {}).keys() >= {(kept.name,), (producer.name,)}, 60)
            assert {labels[-1] for labels in scrape()["kafkapp_outstanding_records"]} == {kept.name}
            assert {labels[1] for labels in scrape().get("kafkapp_broker_up", {})} <= {kept.name}


def test_clients_that_are_gone_do_not_pile_up_without_a_scrape(opened):
    collector = KafkaCollector(None)
    for number in range(100):
        opened(f"producer-{number}")
        collector(text_of(f"producer-{number}"))
    assert len(collector._latest) == 1


def test_names_and_units_are_prometheus(opened):
    opened("a")
    registry = CollectorRegistry()
    KafkaCollector(registry, partitions=True)(text_of("a", ["t"]))
    for family in parse_openmetrics(as_openmetrics(registry).decode()):        # refuses what OpenMetrics does not allow
        assert re.fullmatch(r"kafkapp_[a-z_]+", family.name) and family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            assert sample.name == family.name + ("_total" if family.type == "counter" else "")
            assert set(sample.labels) <= {"client", "broker", "topic", "partition", "quantile"}
        if "latency" in family.name or "rtt" in family.name or "throttle" in family.name:
            assert family.name.endswith("_seconds")
    names = [metric.name for metrics, _ in LABELS.values() for metric in metrics]
    assert len({*names}) == len(names) and not [name for name in names if re.search("_(ms|us|kb|total|milli|micro)", name)]


def test_the_reference_has_each_metric():
    rows = []
    for metrics, labels in LABELS.values():
        for metric in metrics:
            family = metric.family(labels)
            names = ", ".join(f"`{label}`" for label in [*labels, *["quantile"] * metric.window])
            rows.append(f"| `{family.name}{'_total' * (family.type == 'counter')}` | {family.type} | {names} | {metric.text} |")
    assert re.findall(r"^\| `kafkapp.*", (ROOT / "docs" / "reference" / "prometheus.md").read_text(), re.M) == rows


def test_counters_do_not_fall(broker, topic):
    with scraped() as (collector, scrape), KafkaAsyncProducer(observed(broker, collector)) as producer:
        last, rounds = {}, 0
        while rounds < 5:
            producer.send(topic, b"v")
            now = {(name, labels): number for name, series in scrape().items() if name.endswith("_total") for labels, number in series.items()}
            assert all(now.get(key, number) >= number for key, number in last.items())
            rounds += now != last
            last = now


def test_a_registry_takes_one():
    registry = CollectorRegistry()
    KafkaCollector(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        KafkaCollector(registry)


@pytest.mark.parametrize("more, error", [({"max_topics": -1}, ValueError), ({"max_topics": "5"}, TypeError), ({"max_topics": True}, TypeError)])
def test_arguments_are_checked(more, error):
    with pytest.raises(error, match="KafkaCollector: max_topics must "):
        KafkaCollector(None, **more)


@pytest.mark.parametrize("text", ["{", "{}"])
def test_what_is_no_statistics_is_refused(text):
    with pytest.raises(ValueError):
        KafkaCollector(None)(text)


def test_threads_report_and_scrape_at_once(broker):
    """Producers come and go while others are scraped."""
    with scraped() as (collector, scrape):
        failures, ended = [], threading.Event()

        def scrapes():
            try:
                while not ended.is_set():
                    scrape()
            except BaseException as error:
                failures.append(error)

        def producers():
            try:
                for _ in range(5):
                    with KafkaAsyncProducer(observed(broker, collector) | {"statistics.interval.ms": 1}) as producer:
                        wait_for(lambda: producer.name in collector._latest, 60)
            except BaseException as error:
                failures.append(error)

        scraper = threading.Thread(target=scrapes)
        makers = [threading.Thread(target=producers) for _ in range(4)]
        for thread in [scraper, *makers]:
            thread.start()
        for thread in makers:
            thread.join(60)
        ended.set()
        scraper.join(60)
        assert failures == [] and not scraper.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_none_of_its_parents_clients():
    """Not even when a thread of the parent held the lock."""
    collector = KafkaCollector(None)
    made = {"bootstrap.servers": NOWHERE, "stats_cb": collector, "statistics.interval.ms": 20, **QUIET}
    with KafkaAsyncProducer(made) as producer:
        wait_for(lambda: collector._latest, 60)
        with collector._lock:
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)       # not pytest's: it ends a child that waits
                signal.alarm(30)
                try:
                    os._exit(min(len(collected(collector)), 100))
                finally:
                    os._exit(101)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ("kafkapp_brokers_up", producer.name) in collected(collector) and producer.name in {client.name for client in clients}


def test_a_signal_handler_may_report_in_the_midst_of_a_scrape(opened):
    """It may poll or close a producer, which then calls its stats_cb: in the thread that collects."""
    opened("a")
    collector = KafkaCollector(None)
    within = threading.Thread(target=lambda: collector._lock.__enter__() and collector(text_of("a")), daemon=True)
    within.start()
    within.join(30)
    assert not within.is_alive() and collector._latest


def test_without_prometheus_client_it_says_what_to_install():
    code = """
import sys
sys.modules["prometheus_client"] = None
try:
    import kafkapp.prometheus
except ModuleNotFoundError as error:
    print(error)
"""
    assert run_python(code) == "kafkapp.prometheus needs prometheus-client: pip install 'kafkapp[prometheus]'\n"
