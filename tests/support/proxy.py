"""A faulty TCP proxy in front of a broker: swallows, cuts at any byte, delays, throttles, flips bits.

Standard library only: must not import kafkapp or any Kafka client. It knows Kafka's framing (length, API key, correlation
ID), so that a rule can name "the next Produce response". Brokers are behind it through the PROXY listener of
kafka_cluster, whose advertised address is this proxy's, or through Front: clients never bypass it.
"""

import asyncio
import contextlib
import dataclasses
import socket
import struct
import threading
from collections.abc import Callable

PRODUCE, FETCH, METADATA, FIND_COORDINATOR, API_VERSIONS, INIT_PRODUCER_ID = 0, 1, 3, 10, 18, 22

# What a rule does with the frame that it matches.
SWALLOW, CUT, DELAY, FLIP = "swallow", "cut", "delay", "flip"


@dataclasses.dataclass(eq=False)
class Rule:
    """What to do with some frames of one direction and kind; made by the methods of Proxy.

    Attributes:
        fired: how often it has been applied.
        spent: an event, set when it has been applied `times` times.
    """

    direction: str  # "request" or "response"
    api: int | None  # None: any
    action: str
    at: int | tuple[int, ...] | Callable[[bytes], int] = 0  # CUT: how many bytes still go through; FLIP: which byte, or several
    mask: int = 0x01  # FLIP: which of its bits
    value: int | None = None  # FLIP: what the byte is then, instead
    was: int | None = None  # FLIP: what it has been
    least: int = 0  # frames of fewer bytes go by
    seconds: float = 0.0  # DELAY
    times: int | None = 1  # None: until remove()
    skip: int = 0  # so many matching frames go by first
    fired: int = 0
    spent: threading.Event = dataclasses.field(default_factory=threading.Event)

    def take(self, direction, api, size):
        if self.spent.is_set() or direction != self.direction or self.api not in (None, api) or size < self.least:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.fired += 1
        if self.times is not None and self.fired >= self.times:
            self.spent.set()
        return True


class Proxy:
    """Listens on `port`, forwards to `target`; all its work is done by one thread with an event loop.

    Args:
        target: (host, port) of the broker.
        port: where to listen; 0 picks one, see `.port`.
    """

    def __init__(self, target, port=0, host="127.0.0.1"):
        self.target = target
        self.host = host
        self.port = port
        self.throttle = None  # bytes a second in each direction of each connection
        self.segment = None  # the most bytes that are sent in one piece
        self.counts = {}  # (direction, api key) -> frames that came
        self.renamed = {}  # addresses in answers, as (host, port) -> port
        self.passed = None  # called with the direction and the api of each frame right before it is sent on
        self._rules = []
        self._lock = threading.Lock()
        self._writers = set()
        self._loop = None
        self._thread = None
        self._open = None  # cleared while hold() is on

    # Rules. Each returns the Rule, whose `fired` and `spent` show the test what has happened.

    def swallow_responses(self, times=1, *, api=PRODUCE, skip=0):
        """The broker has done the work, but its response never arrives; the connection stays."""
        return self._add(Rule("response", api, SWALLOW, times=times, skip=skip))

    def cut_response(self, times=1, *, at=0, api=PRODUCE, skip=0):
        """The broker has done the work; its response ends after `at` bytes and the connection is reset."""
        return self._add(Rule("response", api, CUT, at=at, times=times, skip=skip))

    def cut_request(self, times=1, *, at=0, api=PRODUCE, skip=0):
        """The request ends after `at` bytes and the connection is reset: the broker cannot have done it."""
        return self._add(Rule("request", api, CUT, at=at, times=times, skip=skip))

    def delay_responses(self, seconds, times=None, *, api=None, skip=0):
        return self._add(Rule("response", api, DELAY, seconds=seconds, times=times, skip=skip))

    def flip_request(self, at, times=1, *, api=PRODUCE, skip=0):
        """Byte `at` of the request (negative: from its end) arrives with one bit changed."""
        return self._add(Rule("request", api, FLIP, at=at, times=times, skip=skip))

    def flip_response(self, at, times=1, *, api=PRODUCE, skip=0, mask=0x01, value=None, least=0):
        return self._add(Rule("response", api, FLIP, at=at, times=times, skip=skip, mask=mask, value=value, least=least))

    def _add(self, rule):
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule):
        rule.spent.set()
        with self._lock, contextlib.suppress(ValueError):
            self._rules.remove(rule)

    def clear(self):
        """Forward everything again, at full speed."""
        with self._lock:
            for rule in self._rules:
                rule.spent.set()
            self._rules.clear()
        self.throttle = self.segment = None
        self.release()

    def hold(self):
        """Connections stay and nothing goes through, until release()."""
        self._call(self._open.clear)

    def release(self):
        self._call(self._open.set)

    def cut_all(self):
        """Reset every connection now."""
        self._call(self._reset_all)

    def count(self, direction, api):
        return self.counts.get((direction, api), 0)

    # Life

    def start(self):
        started = threading.Event()
        failure = []

        def run():
            asyncio.run(self._serve(started, failure))

        self._thread = threading.Thread(target=run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        started.wait()
        if failure:
            raise failure[0]
        return self

    def stop(self):
        if self._thread is not None:
            self._call(self._stopping.set)
            self._thread.join(10)
            self._thread = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *failure):
        self.stop()

    def _call(self, function):
        # From any thread to the loop's, and wait until it is done, so that what the test does next meets the new state.
        done = threading.Event()

        def work():
            function()
            done.set()

        self._loop.call_soon_threadsafe(work)
        done.wait(10)

    async def _serve(self, started, failure):
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        try:
            server = await asyncio.start_server(self._connection, self.host, self.port, limit=1 << 20)
        except OSError as error:
            failure.append(error)
            started.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopping.wait()
        server.close()
        self._reset_all()
        self._open.set()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _reset_all(self):
        for writer in list(self._writers):
            reset(writer)

    async def _connection(self, client_reader, client_writer):
        with contextlib.suppress(asyncio.CancelledError):  # by stop()
            await self._forward(client_reader, client_writer)

    async def _forward(self, client_reader, client_writer):
        try:
            broker_reader, broker_writer = await asyncio.open_connection(*self.target, limit=1 << 20)
        except OSError:
            reset(client_writer)
            return
        both = {client_writer, broker_writer}
        self._writers |= both
        apis = {}  # correlation id -> api key, of the requests that are under way
        pumps = [
            asyncio.ensure_future(self._pump("request", client_reader, broker_writer, apis)),
            asyncio.ensure_future(self._pump("response", broker_reader, client_writer, apis)),
        ]
        end = reset
        try:
            under_way = set(pumps)
            while under_way:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                if any(pump.exception() is not None or pump.result() != "closed" for pump in done):
                    break  # cut, or reset by one side: so is the other
            else:
                end = asyncio.StreamWriter.close
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= both
            for writer in both:
                end(writer)

    async def _pump(self, direction, reader, writer, apis):
        while True:
            try:
                frame = await self._frame(reader)
            except asyncio.IncompleteReadError:
                # One side has ended; what it has sent is forwarded, and the other may still answer.
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return "closed"
            except ConnectionError:
                return "reset"
            api = self._api(direction, frame, apis)
            self.counts[direction, api] = self.counts.get((direction, api), 0) + 1
            await self._open.wait()
            try:
                if not await self._apply(direction, api, frame, writer):
                    return "cut"
            except ConnectionError:
                return "reset"

    async def _frame(self, reader):
        size = await reader.readexactly(4)
        return bytearray(size + await reader.readexactly(struct.unpack(">i", size)[0]))

    def _api(self, direction, frame, apis):
        if direction == "request":
            api, _, correlation = struct.unpack_from(">hhi", frame, 4)
            apis[correlation] = api
            return api
        return apis.pop(struct.unpack_from(">i", frame, 4)[0], None)

    async def _apply(self, direction, api, frame, writer):
        """Do with the frame what the first matching rule says; False when the connection is to end."""
        with self._lock:
            rule = next((rule for rule in self._rules if rule.take(direction, api, len(frame))), None)
        action = rule.action if rule else None
        if action == SWALLOW:
            return True
        if action == CUT:
            await self._send(writer, frame[: rule.at])
            return False
        if action == DELAY:
            await asyncio.sleep(rule.seconds)
        elif action == FLIP:
            places = (rule.at(frame),) if callable(rule.at) else rule.at if isinstance(rule.at, tuple) else (rule.at,)
            for at in places:
                at %= len(frame)
                rule.was = frame[at]
                frame[at] = frame[at] ^ rule.mask if rule.value is None else rule.value
        if direction == "response" and api in (METADATA, FIND_COORDINATOR):
            frame = self._rename(frame)
        if self.passed:
            self.passed(direction, api)
        await self._send(writer, frame)
        return True

    def _rename(self, frame):
        # An answer names a broker by its host and then, in four bytes, its port; the length of the answer stays.
        for (host, port), other in self.renamed.items():
            frame = frame.replace(host.encode() + struct.pack(">i", port), host.encode() + struct.pack(">i", other))
        return frame

    async def _send(self, writer, data):
        piece = self.segment or (max(1, int(self.throttle / 20)) if self.throttle else len(data))
        for start in range(0, len(data), max(1, piece)):
            part = data[start : start + piece]
            if self.throttle:
                await asyncio.sleep(len(part) / self.throttle)
            writer.write(part)
            await writer.drain()


def reset(writer):
    """Close with RST and not FIN: what a cut connection looks like."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


class ProxySet:
    """A proxy before every node of a cluster.

    Attributes:
        bootstrap_servers: where clients have to enter.
        by_node: node id -> Proxy.
    """

    def __init__(self, cluster):
        self.bootstrap_servers = cluster.servers("PROXY")
        self.by_node = {}
        for node in cluster.nodes.values():
            listener = node.listeners["PROXY"]
            self.by_node[node.id] = Proxy(("127.0.0.1", listener.port), listener.advertised_port)

    def __enter__(self):
        for proxy in self.by_node.values():
            proxy.start()
        return self

    def __exit__(self, *failure):
        for proxy in self.by_node.values():
            proxy.stop()

    def __iter__(self):
        return iter(self.by_node.values())

    def count(self, direction, api):
        return sum(proxy.count(direction, api) for proxy in self)

    def clear(self):
        for proxy in self:
            proxy.clear()


class Front(ProxySet):
    """A proxy before every broker of a cluster that knows nothing of it, as a MockCluster: answers are rewritten.

    Args:
        bootstrap_servers: all brokers, the first has the id 1.
    """

    def __init__(self, bootstrap_servers):
        addresses = [(host, int(port)) for host, port in (text.split(":") for text in bootstrap_servers.split(","))]
        self.by_node = {node: Proxy(address) for node, address in enumerate(addresses, 1)}

    def __enter__(self):
        super().__enter__()
        renamed = {proxy.target: proxy.port for proxy in self}
        for proxy in self:
            proxy.renamed = renamed
        self.bootstrap_servers = ",".join(f"{proxy.host}:{proxy.port}" for proxy in self)
        return self
