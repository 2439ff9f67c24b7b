"""The faulty proxy: each rule does what it says, seen against a plain server without Kafka."""

import contextlib
import socket
import struct
import threading
import time

import pytest
from proxy import FETCH, PRODUCE, Proxy


def frame(api, correlation, body=b"0123456789"):
    return struct.pack(">ihhi", 8 + len(body), api, 1, correlation) + body


def answer_to(request):
    correlation = struct.unpack_from(">i", request, 8)[0]
    return struct.pack(">ii", 4 + len(request), correlation) + request


class Server:
    """Answers each frame with its correlation id and the frame itself; writes down all bytes that came."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.received = []  # one bytearray for each connection
        self.ended = threading.Semaphore(0)  # once for each connection that is over
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        got = bytearray()
        self.received.append(got)
        done = 0
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                got += data
                while len(got) - done >= 4:
                    size = 4 + struct.unpack_from(">i", got, done)[0]
                    if len(got) - done < size:
                        break
                    connection.sendall(answer_to(bytes(got[done : done + size])))
                    done += size
        self.ended.release()

    def close(self):
        self.listener.close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def proxy(server):
    with Proxy(server.address) as proxy:
        yield proxy


class Client:
    def __init__(self, proxy):
        self.socket = socket.create_connection((proxy.host, proxy.port))
        self.socket.settimeout(5)

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        got = b""
        while len(got) < count:
            data = self.socket.recv(count - len(got))
            if not data:
                break
            got += data
        return got

    def ask(self, request):
        self.send(request)
        return self.receive(len(answer_to(request))) == answer_to(request)

    def rest(self):
        """All that still comes until the connection is over, and how it ended."""
        got = b""
        try:
            while data := self.socket.recv(65536):
                got += data
        except ConnectionResetError:
            return got, "reset"
        return got, "closed"


@pytest.fixture
def client(proxy):
    client = Client(proxy)
    yield client
    client.socket.close()


def test_without_rules_everything_goes_through(proxy, client):
    for correlation in range(20):
        assert client.ask(frame(PRODUCE, correlation, b"x" * correlation * 1000))
    assert proxy.count("request", PRODUCE) == proxy.count("response", PRODUCE) == 20


def test_a_swallowed_response_never_comes_and_the_connection_stays(server, proxy, client):
    rule = proxy.swallow_responses()
    client.send(frame(PRODUCE, 1))
    assert rule.spent.wait(5)
    assert client.ask(frame(PRODUCE, 2))
    assert bytes(server.received[0]) == frame(PRODUCE, 1) + frame(PRODUCE, 2)


def test_rules_skip_count_and_select(proxy, client):
    rule = proxy.swallow_responses(2, skip=1)
    assert client.ask(frame(PRODUCE, 1))
    assert client.ask(frame(FETCH, 2))
    client.send(frame(PRODUCE, 3) + frame(PRODUCE, 4))
    assert client.ask(frame(PRODUCE, 5))
    assert rule.fired == 2


def test_a_removed_rule_is_over(proxy, client):
    rule = proxy.swallow_responses(None)
    client.send(frame(PRODUCE, 1))
    assert client.ask(frame(FETCH, 2))
    proxy.remove(rule)
    assert client.ask(frame(PRODUCE, 3))
    assert rule.fired == 1


def test_a_response_is_cut_at_any_byte(server, proxy):
    request = frame(PRODUCE, 7)
    whole = answer_to(request)
    for at in range(len(whole)):
        client = Client(proxy)
        proxy.cut_response(at=at)
        client.send(request)
        assert client.rest() == (whole[:at], "reset")
        assert server.ended.acquire(timeout=5)
        assert bytes(server.received[at]) == request, "the server had the whole request"


def test_a_request_is_cut_at_any_byte(server, proxy):
    request = frame(PRODUCE, 7)
    for at in range(len(request)):
        client = Client(proxy)
        proxy.cut_request(at=at)
        client.send(request)
        assert client.rest() == (b"", "reset")
        assert server.ended.acquire(timeout=5)
        assert bytes(server.received[at]) == request[:at]


def test_a_flipped_bit_arrives_flipped(server, proxy, client):
    proxy.flip_request(at=-1)
    request = frame(PRODUCE, 1, b"abc")
    client.send(request)
    changed = request[:-1] + b"b"
    assert client.receive(len(answer_to(request))) == answer_to(changed)
    proxy.flip_response(at=7)
    client.send(request)
    got = client.receive(len(answer_to(request)))
    assert got[:8] == answer_to(frame(PRODUCE, 0, b"abc"))[:8]


def test_a_delay_is_waited_out(proxy, client):
    proxy.delay_responses(0.2, times=1, api=PRODUCE)
    begin = time.monotonic()
    assert client.ask(frame(PRODUCE, 1))
    assert 0.2 <= time.monotonic() - begin < 5
    begin = time.monotonic()
    assert client.ask(frame(PRODUCE, 2))
    assert time.monotonic() - begin < 0.2


def test_a_throttled_connection_is_no_faster_than_it_may_be(proxy, client):
    proxy.throttle = 100_000
    begin = time.monotonic()
    assert client.ask(frame(PRODUCE, 1, b"x" * 20_000))  # 20 kB each way
    assert 0.4 <= time.monotonic() - begin < 10


def test_small_segments_carry_the_same_bytes(proxy, client):
    proxy.segment = 1
    assert client.ask(frame(PRODUCE, 1, bytes(range(256))))


def test_what_is_held_goes_on_after_the_release(proxy, client):
    proxy.hold()
    client.send(frame(PRODUCE, 1))
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.socket.settimeout(5)
    proxy.release()
    assert client.receive(len(answer_to(frame(PRODUCE, 1)))) == answer_to(frame(PRODUCE, 1))


def test_all_connections_are_cut_at_once_and_new_ones_work(proxy):
    clients = [Client(proxy) for _ in range(3)]
    assert all(client.ask(frame(PRODUCE, 1)) for client in clients)
    proxy.cut_all()
    assert [client.rest() for client in clients] == [(b"", "reset")] * 3
    assert Client(proxy).ask(frame(PRODUCE, 2))


def test_a_client_that_closes_leaves_all_its_bytes_to_the_server(server, proxy, client):
    data = b"".join(frame(PRODUCE, n, b"x" * 10_000) for n in range(20))
    client.send(data)
    client.socket.shutdown(socket.SHUT_WR)
    assert server.ended.acquire(timeout=5)
    assert bytes(server.received[0]) == data


def test_with_nobody_behind_it_a_connection_is_reset(server, proxy):
    server.close()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy.target = closed.getsockname()
        assert Client(proxy).rest()[1] == "reset"


def test_after_stop_nobody_listens_and_connections_are_over(proxy):
    client = Client(proxy)
    assert client.ask(frame(PRODUCE, 1))
    proxy.stop()
    assert client.rest()[0] == b""
    with pytest.raises(ConnectionRefusedError):
        Client(proxy)
