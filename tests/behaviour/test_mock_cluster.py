"""MockCluster: what the tests of our users see, through another Kafka client."""
import gc
import os
import resource
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from datetime import timedelta

import confluent_kafka as ck
import pytest
from helpers import wait_for

from kafkapp.common.errors import ErrorCode, KafkaException
from kafkapp.testing.arguments import delay_to_ms
from kafkapp.testing import ApiKey, MockCluster, Request

DENIED = ErrorCode.RD_KAFKA_RESP_ERR_POLICY_VIOLATION     # one that clients neither retry nor remember


def new_producer(cluster, **extra):
    return ck.Producer({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0, "linger.ms": 0,
                        "message.timeout.ms": 10_000, "topic.metadata.refresh.interval.ms": 200,
                        "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 50,
                        **{name.replace("_", "."): value for name, value in extra.items()}})


def send(producer, topic, value=b"v", partition=0):
    """The code that the delivery report brings, 0 for success."""
    reports = []
    producer.produce(topic, value, partition=partition, on_delivery=lambda error, _: reports.append(error))
    assert producer.flush(15) == 0
    return reports[0].code() if reports[0] else 0


def consume(cluster, topic, count):
    consumer = ck.Consumer({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0, "group.id": "g"})
    try:
        consumer.assign([ck.TopicPartition(topic, 0, 0)])
        records = []
        wait_for(lambda: records.extend(consumer.consume(count, 0.1)) or len(records) >= count)
        assert not any(record.error() for record in records)
        return [record.value() for record in records]
    finally:
        consumer.close()


def seconds_of(function, *args):
    start = time.monotonic()
    function(*args)
    return time.monotonic() - start


def is_cut(client):
    client.settimeout(5)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:    # it was still waiting to be accepted
        return True


def run(code, *options):
    """A Python of its own: its exit status, standard output and standard error."""
    done = subprocess.run([sys.executable, *options, "-c", textwrap.dedent(code)], check=False, capture_output=True,
                          text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_records_come_back_as_they_were_sent(broker, topic):
    producer = new_producer(broker)
    values = [b"", b"one", bytes(range(256)) * 1000]
    assert [send(producer, topic, value) for value in values] == [0, 0, 0]
    assert consume(broker, topic, 3) == values


def test_bootstrap_servers_name_every_broker():
    with MockCluster(3) as cluster:
        assert cluster.brokers == 3
        addresses = cluster.bootstrap_servers.split(",")
        assert len(set(addresses)) == 3
        seen = new_producer(cluster).list_topics(timeout=5).brokers.values()
        assert {broker.id: f"{broker.host}:{broker.port}" for broker in seen} == dict(enumerate(addresses, 1))


def test_two_clusters_know_nothing_of_each_other(cluster, topic):
    with MockCluster() as other:
        assert other.bootstrap_servers != cluster.bootstrap_servers
        assert topic in new_producer(cluster).list_topics(timeout=5).topics
        assert topic not in new_producer(other).list_topics(timeout=5).topics


def test_a_topic_has_the_partitions_and_replicas_it_was_given():
    with MockCluster(2) as cluster:
        cluster.create_topic("t", partitions=7, replicas=2)
        partitions = new_producer(cluster).list_topics("t", 5).topics["t"].partitions
        assert sorted(partitions) == list(range(7))
        assert all(sorted(partition.replicas) == [1, 2] for partition in partitions.values())
        with pytest.raises(KafkaException) as caught:
            cluster.create_topic("t")
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS


@pytest.mark.parametrize("which", [1, None])
def test_a_broker_that_is_down_takes_nothing_until_it_is_up_again(cluster, topic, which):
    host, port = cluster.bootstrap_servers.split(":")
    cluster.broker_down(which)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), 5).close()
    assert send(new_producer(cluster, message_timeout_ms=300), topic) == ck.KafkaError._MSG_TIMED_OUT
    cluster.broker_up(which)
    assert send(new_producer(cluster), topic, b"later") == 0
    assert consume(cluster, topic, 1) == [b"later"]


def test_a_leader_moves_and_goes():
    with MockCluster(2) as cluster:
        cluster.create_topic("t", partitions=1, replicas=2)
        producer = new_producer(cluster)
        for broker in (2, 1, 2):
            cluster.set_leader("t", 0, broker)
            assert producer.list_topics("t", 5).topics["t"].partitions[0].leader == broker
        assert send(producer, "t", b"to broker 2") == 0
        cluster.set_leader("t", 0, None)
        assert producer.list_topics("t", 5).topics["t"].partitions[0].leader == -1
        assert send(new_producer(cluster, message_timeout_ms=300), "t") == ck.KafkaError._MSG_TIMED_OUT
        cluster.set_leader("t", 0, 1)
        assert consume(cluster, "t", 1) == [b"to broker 2"]


@pytest.mark.parametrize("seconds", [0.3, timedelta(milliseconds=300)])
def test_a_round_trip_takes_as_long_as_it_was_set(cluster, topic, seconds):
    producer = new_producer(cluster)
    producer.list_topics(topic, 5)      # connects
    assert seconds_of(producer.list_topics, topic, 5) < 0.3
    cluster.set_rtt(1, seconds)
    assert 0.3 <= seconds_of(producer.list_topics, topic, 5) < 3
    cluster.set_rtt(None, 0)
    assert seconds_of(producer.list_topics, topic, 5) < 0.3


@pytest.mark.parametrize("api", [ApiKey.PRODUCE, ApiKey.Produce, "PRODUCE", "Produce", 0])
def test_pushed_errors_meet_one_request_each(cluster, topic, api):
    producer = new_producer(cluster)
    cluster.push_request_errors(api, DENIED, 0, int(DENIED))
    assert [send(producer, topic, b"%d" % i) for i in range(4)] == [DENIED, 0, DENIED, 0]
    assert consume(cluster, topic, 2) == [b"1", b"3"]


def test_cleared_errors_meet_no_request(cluster, topic):
    cluster.push_request_errors(ApiKey.PRODUCE, *[DENIED] * 5)
    cluster.clear_request_errors(ApiKey.PRODUCE)
    assert send(new_producer(cluster), topic) == 0


def test_an_error_can_cut_the_connection(cluster, topic):
    producer = new_producer(cluster, retries=0)
    cluster.push_request_errors(ApiKey.PRODUCE, ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT)
    assert send(producer, topic) == ck.KafkaError._TRANSPORT


def test_errors_of_one_broker_do_not_touch_another():
    with MockCluster(2) as cluster:
        cluster.create_topic("t", partitions=2)
        cluster.set_leader("t", 0, 1)
        cluster.set_leader("t", 1, 2)
        producer = new_producer(cluster)
        assert send(producer, "t", partition=0) == 0
        cluster.push_broker_errors(1, ApiKey.PRODUCE, DENIED, (DENIED, 0.3), (0, timedelta(milliseconds=300)))
        assert send(producer, "t", partition=1) == 0
        assert send(producer, "t", partition=0) == DENIED
        start = time.monotonic()
        assert send(producer, "t", partition=0) == DENIED
        assert send(producer, "t", partition=0) == 0
        assert 0.6 <= time.monotonic() - start < 5
        with pytest.raises(KafkaException) as caught:
            cluster.push_broker_errors(3, ApiKey.PRODUCE, DENIED)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_BROKER


def test_a_topic_error_is_seen_until_it_is_taken_back(cluster, topic):
    producer = new_producer(cluster)
    cluster.set_topic_error(topic, DENIED)
    assert producer.list_topics(topic, 5).topics[topic].error.code() == DENIED
    cluster.set_topic_error(topic, 0)
    assert producer.list_topics(topic, 5).topics[topic].error is None


def test_requests_are_tracked_where_librdkafka_can(cluster, topic):
    try:
        cluster.start_request_tracking()
    except NotImplementedError as error:
        assert ck.libversion()[0] not in str(error)    # the version that is named is ours, the older one
        with pytest.raises(NotImplementedError):
            cluster.requests()
        with pytest.raises(NotImplementedError):
            cluster.stop_request_tracking()
        return
    before = time.monotonic()
    assert send(new_producer(cluster), topic) == 0
    requests = cluster.requests()
    assert all(isinstance(request, Request) and request.broker == 1 for request in requests)
    apis = [request.api for request in requests]
    assert apis.count(ApiKey.PRODUCE) == 1
    assert apis.index(ApiKey.METADATA) < apis.index(ApiKey.PRODUCE)
    assert all(before <= request.timestamp <= time.monotonic() for request in requests)
    cluster.stop_request_tracking()
    assert cluster.requests() == []


@pytest.mark.parametrize("call, code", [
    (lambda cluster, topic: cluster.broker_down(2), "BROKER_NOT_AVAILABLE"),
    (lambda cluster, topic: cluster.broker_up(2), "BROKER_NOT_AVAILABLE"),
    (lambda cluster, topic: cluster.set_rtt(2, 1), "BROKER_NOT_AVAILABLE"),
    (lambda cluster, topic: cluster.set_leader(topic, 0, 2), "BROKER_NOT_AVAILABLE"),
    (lambda cluster, topic: cluster.set_leader(topic, 9, 1), "UNKNOWN_TOPIC_OR_PART"),
])
def test_what_the_cluster_does_not_have_is_a_kafka_exception(broker, topic, call, code):
    with pytest.raises(KafkaException) as caught:
        call(broker, topic)
    assert caught.value.error.code == ErrorCode[f"RD_KAFKA_RESP_ERR_{code}"]


@pytest.mark.parametrize("call, error, name", [
    (lambda _: MockCluster(0), ValueError, "brokers"),
    (lambda _: MockCluster(101), ValueError, "brokers"),
    (lambda _: MockCluster(10**30), ValueError, "brokers"),
    (lambda _: MockCluster("1"), TypeError, "brokers"),
    (lambda _: MockCluster(1.0), TypeError, "brokers"),
    (lambda _: MockCluster(True), TypeError, "brokers"),
    (lambda c: c.create_topic(b"t"), TypeError, "name"),
    (lambda c: c.create_topic(""), ValueError, "name"),
    (lambda c: c.create_topic("t" * 513), ValueError, "name"),
    (lambda c: c.create_topic("a\0b"), ValueError, "name"),
    (lambda c: c.create_topic("\ud800"), ValueError, "name"),
    (lambda c: c.create_topic("t", 0), ValueError, "partitions"),
    (lambda c: c.create_topic("t", -1), ValueError, "partitions"),
    (lambda c: c.create_topic("t", 2**31), ValueError, "partitions"),
    (lambda c: c.create_topic("t", 1, 0), ValueError, "replicas"),
    (lambda c: c.create_topic("t", 1, 2), ValueError, "replicas"),
    (lambda c: c.create_topic("t", 1, None), TypeError, "replicas"),
    (lambda c: c.set_leader(1, 0, 1), TypeError, "topic"),
    (lambda c: c.set_leader("t", -1, 1), ValueError, "partition"),
    (lambda c: c.set_leader("t", 0, -1), ValueError, "broker"),
    (lambda c: c.set_leader("t", 0, "1"), TypeError, "broker"),
    (lambda c: c.broker_down(0), ValueError, "id"),
    (lambda c: c.broker_down(-1), ValueError, "id"),
    (lambda c: c.broker_up(2**31), ValueError, "id"),
    (lambda c: c.set_rtt(1, -1), ValueError, "seconds"),
    (lambda c: c.set_rtt(1, float("nan")), ValueError, "seconds"),
    (lambda c: c.set_rtt(1, float("inf")), ValueError, "seconds"),
    (lambda c: c.set_rtt(1, None), TypeError, "seconds"),
    (lambda c: c.set_rtt(1, True), TypeError, "seconds"),
    (lambda c: c.push_request_errors("produce", DENIED), ValueError, "api"),
    (lambda c: c.push_request_errors(-1, DENIED), ValueError, "api"),
    (lambda c: c.push_request_errors(None, DENIED), TypeError, "api"),
    (lambda c: c.push_request_errors(ApiKey.PRODUCE), ValueError, "codes"),
    (lambda c: c.push_request_errors(ApiKey.PRODUCE, DENIED, "29"), TypeError, "code"),
    (lambda c: c.push_request_errors(ApiKey.PRODUCE, 2**15), ValueError, "code"),
    (lambda c: c.push_broker_errors(1, ApiKey.PRODUCE), ValueError, "errors"),
    (lambda c: c.push_broker_errors(1, ApiKey.PRODUCE, (1, 2, 3)), ValueError, "errors"),
    (lambda c: c.push_broker_errors(1, ApiKey.PRODUCE, (0, "1")), TypeError, "seconds"),
    (lambda c: c.set_topic_error("t", None), TypeError, "code"),
])
def test_a_bad_argument_is_refused_by_name(broker, call, error, name):
    with pytest.raises(error, match=rf"^{name} must "):
        call(broker)


@pytest.mark.parametrize("seconds, milliseconds", [
    (0, 0), (1, 1000), (0.07, 70), (2.007, 2007), (0.0701, 71), (1e-9, 1), (timedelta(microseconds=1500), 2), (2147483, 2147483000)])
def test_seconds_are_rounded_up_to_a_millisecond(seconds, milliseconds):
    assert delay_to_ms(seconds, "seconds") == milliseconds


CALLS = {
    "bootstrap_servers": lambda cluster: cluster.bootstrap_servers,
    "create_topic": lambda cluster: cluster.create_topic("t"),
    "set_topic_error": lambda cluster: cluster.set_topic_error("t", 0),
    "set_leader": lambda cluster: cluster.set_leader("t", 0, 1),
    "broker_down": lambda cluster: cluster.broker_down(1),
    "broker_up": lambda cluster: cluster.broker_up(1),
    "set_rtt": lambda cluster: cluster.set_rtt(1, 0),
    "push_request_errors": lambda cluster: cluster.push_request_errors(0, 0),
    "push_broker_errors": lambda cluster: cluster.push_broker_errors(1, 0, 0),
    "clear_request_errors": lambda cluster: cluster.clear_request_errors(0),
    "__enter__": lambda cluster: cluster.__enter__(),
}


@pytest.fixture(scope="module")
def closed():
    cluster = MockCluster()
    cluster.close()
    return cluster


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_cluster_refuses_every_call(closed, name):
    with pytest.raises(RuntimeError, match="closed"):
        CALLS[name](closed)
    closed.close()
    assert repr(closed) == "<MockCluster closed>"


@pytest.mark.parametrize("name", CALLS)
def test_a_cluster_without_init_refuses_every_call(name):
    with pytest.raises(RuntimeError, match="__init__"):
        CALLS[name](MockCluster.__new__(MockCluster))


def test_init_cannot_be_called_twice(broker, closed):
    for cluster in (broker, closed):
        with pytest.raises(RuntimeError, match="already"):
            cluster.__init__(2)
    assert broker.bootstrap_servers in repr(broker)


def test_close_releases_threads_and_descriptors_and_port():
    def count():
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = count()
    with MockCluster(3) as cluster:
        servers = cluster.bootstrap_servers.split(",")
        # Three connections that are open while it closes: their fds on this side are ours.
        clients = [socket.create_connection(server.split(":"), 5) for server in servers]
        assert count()[0] > before[0] and count()[1] > before[1] + len(servers)
    for client in clients:
        assert is_cut(client)
        client.close()
    assert count() == before
    for server in servers:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.split(":"), 5).close()


@pytest.mark.parametrize("action", ["always", "error"])
def test_an_unclosed_cluster_warns_and_is_closed(action):
    code = """
        import os, socket
        from kafkapp.testing import MockCluster
        threads = len(os.listdir("/proc/self/task"))
        cluster = MockCluster()
        address = cluster.bootstrap_servers.split(":")
        del cluster
        print(len(os.listdir("/proc/self/task")) - threads, end=" ")
        print(socket.socket().connect_ex((address[0], int(address[1]))) != 0)
        """
    returncode, out, err = run(code, "-W", action)
    assert (returncode, out) == (0, "0 True\n")
    assert "ResourceWarning: unclosed <MockCluster 127.0.0.1:" in err


def test_a_cluster_that_is_left_open_at_exit_hinders_nothing():
    assert run("from kafkapp.testing import MockCluster; cluster = MockCluster(3)") == (0, "", "")


def test_a_cluster_says_nothing():
    assert run("""
        import socket
        from kafkapp.testing import MockCluster
        with MockCluster(2) as cluster:
            cluster.create_topic("t")
            with socket.create_connection(cluster.bootstrap_servers.split(",")[0].split(":"), 5) as client:
                client.sendall(b"GET / HTTP/1")     # as long as the start of a request, and none
                assert client.recv(1) == b""
            cluster.broker_down(None)
        """, "-W", "error") == (0, "", "")


def test_too_few_descriptors_are_an_error_and_no_abort():
    returncode, out, err = run(f"""
        import resource
        from kafkapp.testing import MockCluster
        resource.setrlimit(resource.RLIMIT_NOFILE, (30, {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}))
        try:
            MockCluster(30)
        except OSError as error:
            print(error.errno)
        with MockCluster(1) as cluster:
            print(cluster.brokers)
        """)
    assert (returncode, out, err) == (0, "24\n1\n", "")


@pytest.mark.parametrize("leave", ["del cluster", "cluster.__exit__(None, None, None)", "pass"])
def test_a_forked_child_leaves_the_cluster_alone(leave):
    returncode, out, err = run(f"""
        import os, sys
        from kafkapp.testing import MockCluster
        cluster = MockCluster()
        child = os.fork()
        if not child:
            refused = 0
            for call in (cluster.close, cluster.__enter__, lambda: cluster.create_topic("t"),
                         lambda: cluster.bootstrap_servers):
                try:
                    call()
                except RuntimeError as error:
                    refused += "fork" in str(error)
            {leave}
            sys.exit(refused)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        cluster.create_topic("t")       # the parent's goes on
        cluster.close()
        """, "-W", "always::ResourceWarning")
    assert (returncode, out) == (0, "4\n")
    assert "ResourceWarning" not in err


def test_close_waits_for_calls_in_other_threads():
    cluster = MockCluster(2)
    errors, started = [], threading.Barrier(5)

    def work():
        started.wait(10)
        try:
            while True:
                cluster.broker_down(1)
                cluster.set_rtt(2, 0)
                cluster.push_request_errors(ApiKey.PRODUCE, DENIED)
        except RuntimeError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait(10)
    time.sleep(0.05)        # in the midst of it
    cluster.close()
    for thread in threads:
        thread.join(10)
    assert [str(error) for error in errors] == ["the MockCluster is closed"] * 4


def test_commands_in_a_row_do_not_wait_for_each_other(broker):
    assert seconds_of(lambda: [broker.set_rtt(1, 0) for _ in range(100)]) < 4     # a stall takes a second


def test_a_dropped_cluster_is_freed():
    cluster = MockCluster()
    alive = weakref.ref(cluster)
    cluster.close()
    del cluster
    assert alive() is None
