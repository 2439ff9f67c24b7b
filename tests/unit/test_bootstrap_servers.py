"""bootstrap.servers: each entry is used exactly as written, or construction fails and the message shows the entry.

What librdkafka makes of a list is read out of its own statistics; what it would have made of a refused one, another binding
without such a check shows.
"""
import json
import queue
import re

import confluent_kafka
import pytest
from helpers import LIBRDKAFKA

from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaException, KafkaSyncProducer, ProducerRecord
from kafkapp.config.servers import misread
from kafkapp.testing import MockCluster

BOUND = 20
LONG = "a" * 250

# An entry, and what librdkafka calls the broker; all in lists of others.
TAKEN = {
    "host:9093": "host:9093", "host": "host:9092", "a-b.c_d.e1:1": "a-b.c_d.e1:1", "10.0.0.1": "10.0.0.1:9092", "host:065535": "host:65535",
    "plaintext://host:9093": "host:9093", "PLAINTEXT://host": "host:9092", "PlainText://host:1/": "host:1", " host:1": "host:1",
    "host:1 ": "host:1", "host:1\n": "host:1", "host:1\r\n": "host:1", "[::1]:9093": "[::1]:9093", "[::1]": "[::1]:9092",
    "::1": "::1:9092", "2001:db8::a:b": "2001:db8::a:b:9092", "1:2:3:4:5:6:7:8": "1:2:3:4:5:6:7:8:9092", "fe80::1%eth0": "fe80::1%eth0:9092",
    "[fe80::1%eth0]:9093": "[fe80::1%eth0]:9093", "[2001:db8::]": "[2001:db8::]:9092", "::ffff:1.2.3.4": "::ffff:1.2.3.4:9092",
    "PLAINTEXT://[::1]:1": "[::1]:1", "xn--caf-dma.example:1": "xn--caf-dma.example:1", f"{LONG}:1234": f"{LONG}:1234",
}

# An entry, and what is said of it.
REFUSED = {
    "SASL_SSL://host:9093": "security.protocol", "ssl://host:9093": "security.protocol", "kafka://host:9092": "security.protocol",
    "kafka+ssl://host:9096": "security.protocol", "://host:1": "security.protocol", "http://host": "security.protocol",
    "PLAINTEXT ://host:1": "security.protocol", "a:1;ssl://b:1": "security.protocol", "PLAINTEXT://ssl://host:1": "path",
    "PLAINTEXT://host:1/path": "path", "host:1/": "no port", "host/path": "host's name", "PLAINTEXT://host/path:1": "path",
    "host:0": "no port from 1 to 65535", "host:65536": "no port", "host:99999": "no port", "host:4294976388": "no port", "host:-1": "no port",
    "host:+1": "no port", "host:": "no port", "host:port": "no port", "host:9092x": "no port", "host:0x10": "no port", "host: 1": "commas",
    "host:1.5": "no port", "host:" + "9" * 5000: "no port", "host:\uff11": "no port", "host:${PORT}": "no port", "[::1]:": "no port",
    "\nhost:1": "commas", "\thost:1": "commas", "host \t": "commas", "host\n": "commas", "host\r": "commas", "a:1 b:1": "commas",
    "a:1\nb:1": "commas", "a:1;b:1": "commas", "a;b": "commas", "a:1|b:1": "commas", "a:1\tb:1": "commas", "host :1": "commas",
    "a:1; b:1": "commas", "[::1]:1;[::2]:1": "commas", "\x0bhost": "commas", ":9092": "no host", "PLAINTEXT://": "no host",
    "PLAINTEXT://:9092": "no host", "::1:9092": "[::1]:9092", "2001:db8::1:9092": "[2001:db8::1]:9092", "fe80::1%eth0:9092": "[fe80::1%eth0]:9092",
    "1:2:3:4:5:6:7:8:9092": "[1:2:3:4:5:6:7:8]:9092", "2001:db8::": "[2001:db8::]", "::": "[::]", "[::1": "host's name", "::1]:9092": "host's name",
    "[::1]9092": "host's name", "[host]:1": "IPv6 address in its brackets", "[]:1": "host's name", "[[::1]]:1": "IPv6 address in its brackets",
    "[::1%]:1": "IPv6 address in its brackets", "host:1:2": "host:port", "fe80::1%": "host:port", "fe80::1%a b": "commas", "a:b:c": "host:port",
    "user@host:1": "sasl.username", "PLAINTEXT://user@host": "sasl.username", "caf\u00e9.example:1": "write xn--caf-dma.example",
    "\u65e5\u672c:1": "write xn--wgv71a", "ho\u200bst:1": "ASCII", "host\u00a0:1": "ASCII", '"host:1"': "no port", "'host'": "host's name",
    "['host:1'": "no port", "${HOST}:1": "host's name", "host,1": "", "*:1": "host's name", "host=a:1": "host's name", "a\\:1": "host's name",
    "ho\x01st": "host's name", "ho\x7fst:1": "host's name", "a" * 251 + ":1234": "longer than 255", "a" * 10**6: "longer than 255",
}
del REFUSED["host,1"]       # two of them, and both are names


def brokers_of(servers, **properties):
    """What librdkafka calls the brokers that it was given."""
    statistics = queue.Queue()
    with KafkaAsyncProducer({"bootstrap.servers": servers, "statistics.interval.ms": 50, "stats_cb": statistics.put, "log_level": 0,
                             "log_cb": lambda *log: None, "error_cb": lambda error: None, **properties}):
        return named(statistics.get(timeout=BOUND))


def named(statistics):
    return {bare(broker["nodename"]) for broker in json.loads(statistics)["brokers"].values() if broker["source"] == "configured"}


def bare(name):
    """Brackets aside: newer releases of librdkafka write them themselves."""
    return name.replace("[", "").replace("]", "")


def brokers_without_a_check(servers):
    """The same by another binding of librdkafka."""
    statistics = queue.Queue()
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "statistics.interval.ms": 50, "stats_cb": statistics.put, "log_level": 0,
                                         "error_cb": lambda error: None})
    for _ in range(10 * BOUND):
        producer.poll(0.1)
        if not statistics.empty():
            return named(statistics.get())
    raise AssertionError("no statistics")


def test_what_is_taken_is_used_as_it_is_written():
    for entry in TAKEN:
        assert misread(entry, "plaintext", False) == "", entry
    assert brokers_of("first:1," + ",".join(TAKEN) + ",last:1") == {"first:1", *map(bare, TAKEN.values()), "last:1"}


@pytest.mark.parametrize("servers", [" a:1 , b:2,, c:3,", "a:1,a:1,b:2,c:3", ",a:1,b:2,c:3", "\n a:1,b:2,c:3\n"])
def test_a_list_with_more_commas_and_blanks_than_it_needs(servers):
    assert brokers_of(servers) == {"a:1", "b:2", "c:3"}


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: repr(entry)[:40])
def test_what_is_refused_is_shown(entry):
    said = f"{misread(f'first:1,{entry},last:1', 'plaintext', False)}"
    shown = "*@host" if "@" in entry else repr(entry.lstrip(" ")[:64])[1:-1]
    assert shown in said and REFUSED[entry] in said, said
    assert len(said) < 500


@pytest.mark.parametrize("make", [KafkaAsyncProducer, KafkaSyncProducer])
@pytest.mark.parametrize("name", ["bootstrap.servers", "metadata.broker.list"])
def test_construction_raises(make, name):
    for entry in ("SASL_SSL://host:9093", "a:1;b:1", "host:65536", "host:1 x"):
        with pytest.raises(KafkaException, match=f"{name}: {re.escape(repr(entry))}") as caught:
            make({name: f"first:1,{entry},last:1"})
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG and isinstance(caught.value, ValueError)


# The control: without a check these are dropped with all that follows, or are another broker than the one that was meant.
@pytest.mark.parametrize("entry, made", [
    ("SASL_SSL://host:9093", {"first:1"}), ("://host:1", {"first:1"}), ("a:1 b:1", {"first:1", "a:1 b:1:9092", "last:1"}),
    ("a:1;b", {"first:1", "a:1", "last:1"}), ("host:65536", {"first:1", "host:0", "last:1"}), ("host:0x10", {"first:1", "host:0", "last:1"}),
    (":9092", {"first:1", "localhost:9092", "last:1"}), ("PLAINTEXT://host:1/path", {"first:1", "host:1", "last:1"}),
    ("::1:9092", {"first:1", "::1:9092:9092", "last:1"}), ("host", {"first:1", "host:9092", "last:1"})])
def test_what_librdkafka_makes_of_them(entry, made):
    assert brokers_without_a_check(f"first:1,{entry},last:1") == made
    assert bool(misread(entry, "plaintext", False)) == (entry != "host")


@pytest.mark.parametrize("protocol", ["ssl", "SASL_SSL", "sasl_plaintext"])
def test_the_protocol_is_that_of_security_protocol(protocol):
    assert misread(f"{protocol.upper()}://a:1,{protocol.lower()}://b:1,c:1", protocol, False) == ""
    assert "PLAINTEXT://b:1" in misread(f"{protocol}://a:1,PLAINTEXT://b:1", protocol, False)
    with pytest.raises(KafkaException, match=r"'PLAINTEXT://b:1' is not of the protocol .*ssl"):
        KafkaAsyncProducer({"bootstrap.servers": "ssl://a:1,PLAINTEXT://b:1", "security.protocol": "ssl"})


def test_a_users_password_is_not_shown():
    said = misread("PLAINTEXT://me:hush-hush@host:9092", "plaintext", False)
    assert "'PLAINTEXT://*@host:9092'" in said and "hush" not in said and "//me" not in said
    assert misread("me:hush-hush@host:9092", "plaintext", False).startswith("'*@host:9092' ")


def test_canonical_names():
    """Such a name is looked up at once, with what follows its last colon for a service."""
    assert misread("::1,[::1]:1,host:1", "plaintext", False) == ""
    assert "[::1]" in misread("::1", "plaintext", True)
    assert misread("[::1],[::1]:1,host:1,10.0.0.1", "plaintext", True) == ""


@pytest.mark.skipif(LIBRDKAFKA < (2, 2), reason="this librdkafka has no client.dns.lookup")
def test_canonical_names_of_a_client():
    canonical = {"client.dns.lookup": "resolve_canonical_bootstrap_servers_only"}
    with MockCluster() as cluster:
        with KafkaSyncProducer({"bootstrap.servers": cluster.bootstrap_servers, **canonical}) as producer:
            assert producer.send(ProducerRecord("t", value=b"v"), BOUND).offset == 0
    assert len(brokers_of("127.0.0.1:1", **canonical)) == 1        # by its canonical name alone
    logs = queue.Queue()
    with KafkaAsyncProducer({"bootstrap.servers": "no-such-host.invalid:1,127.0.0.1:1", "error_cb": lambda error: None,
                             "log_cb": lambda level, facility, text: logs.put(text), **canonical}):
        while "no-such-host.invalid" not in logs.get(timeout=BOUND):      # dropped, and not in silence
            pass


def test_both_names_of_one_property():
    with pytest.raises(KafkaException, match=r"metadata\.broker\.list is an alias of bootstrap\.servers.*set one of them"):
        KafkaAsyncProducer({"bootstrap.servers": "a:1", "metadata.broker.list": "b:1"})
    assert brokers_of("a:1", **{"metadata.broker.list": "a:1"}) == {"a:1"}


def test_an_embedded_cluster_names_its_servers_so():
    with MockCluster(3) as cluster:
        assert misread(cluster.bootstrap_servers, "plaintext", False) == ""
        with KafkaSyncProducer({"bootstrap.servers": f"127.0.0.1:1,{cluster.bootstrap_servers}", "error_cb": lambda error: None,
                                "log_cb": lambda *log: None}) as producer:
            assert len(producer.fetch_broker_metadata("t").nodes) == 3
