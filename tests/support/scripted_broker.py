"""A scripted broker: responses of the protocol that neither the embedded cluster nor Kafka gives on demand.

Test helper, standard library only. One broker with one node, driven by a script: for each Produce request the next
answer. It speaks just enough of ApiVersions, Metadata and InitProducerId for a librdkafka producer to reach that point.
"""
import contextlib
import socket
import struct
import threading

PRODUCE, FETCH, METADATA, API_VERSIONS, INIT_PRODUCER_ID = 0, 1, 3, 18, 22
NEVER = object()        # an answer that does not come
CUT = object()          # the connection is closed instead


def int16(n):
    return struct.pack(">h", n)


def int32(n):
    return struct.pack(">i", n)


def int64(n):
    return struct.pack(">q", n)


def varint(n):
    data = b""
    while n > 0x7f:
        data += bytes([n & 0x7f | 0x80])
        n >>= 7
    return data + bytes([n])


def encoded(text):
    return text.encode() if isinstance(text, str) else text


def string(text, flexible=False):
    """A nullable string; bytes stand as they are, so that a test can send what is no UTF-8."""
    if text is None:
        return varint(0) if flexible else int16(-1)
    return (varint(len(encoded(text)) + 1) if flexible else int16(len(encoded(text)))) + encoded(text)


def array(items, flexible=False):
    items = list(items)
    return (varint(len(items) + 1) if flexible else int32(len(items))) + b"".join(items)


def tags(fields=()):
    """Tagged fields: (number, bytes) pairs."""
    fields = list(fields)
    return varint(len(fields)) + b"".join(varint(number) + varint(len(data)) + data for number, data in fields)


class Request:
    """A request, as far as a script looks into it."""

    def __init__(self, data, flexible_from):
        self.key, self.version, self.correlation = struct.unpack_from(">hhi", data)
        self.data, self.at = data, 8
        self.flexible = self.version >= flexible_from
        self.string(flexible=False)     # the client id
        if self.flexible:
            self.tags()

    def take(self, form):
        [value] = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take("B")
            value |= (byte & 0x7f) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def size(self, form):
        return self.varint() - 1 if self.flexible else self.take(form)

    def raw(self, size):
        self.at += max(0, size)
        return None if size < 0 else self.data[self.at - size:self.at]

    def string(self, flexible=None):
        return self.raw(self.size(">h") if flexible is None else self.take(">h"))

    def tags(self):
        for _ in range(self.varint()):
            self.varint()
            self.raw(self.varint())


class Produce(Request):
    """A Produce request: librdkafka asks for one partition at a time."""

    def __init__(self, data):
        super().__init__(data, flexible_from=9)
        self.string()                   # the transactional id
        self.acks, self.timeout_ms = self.take(">h"), self.take(">i")
        topics = self.size(">i")
        self.topic = self.string().decode()
        partitions = self.size(">i")
        assert topics == partitions == 1
        self.partition = self.take(">i")
        batch = self.raw(self.size(">i"))
        self.count = struct.unpack_from(">i", batch, 57)[0]     # of a batch of format 2
        self.number = None              # of this request among all, from 0


def answer(code=0, offset=-1, timestamp=-1, errors=(), *, start=0, words=None, throttle=0, topics=1, partitions=1, partition=None,
           topic=None, partition_tags=(), topic_tags=(), all_tags=(), error_tags=(), more=b"", cut=None):
    """A script's step: what the answer to a Produce request says. `errors`: (batch index, words) pairs, or raw bytes."""
    def body(request):
        flexible = request.flexible

        def tagged(fields=()):
            return tags(fields) if flexible else b""

        data = int32(request.partition if partition is None else partition) + int16(code) + int64(offset)
        data += int64(timestamp) if request.version >= 2 else b""
        data += int64(start) if request.version >= 5 else b""
        if request.version >= 8:
            data += errors if isinstance(errors, bytes) else array(
                (int32(index) + string(text, flexible) + tagged(error_tags) for index, text in errors), flexible)
            data += string(words, flexible)
        data += tagged(partition_tags)
        one = string(request.topic if topic is None else topic, flexible) + array([data] * partitions, flexible) + tagged(topic_tags)
        data = array([one] * topics, flexible) + (int32(throttle) if request.version >= 1 else b"") + tagged(all_tags) + more
        return data if cut is None else data[:cut]

    return body


class ScriptedBroker:
    """`with ScriptedBroker([answer(87, errors=[(0, "no")]), ...]) as broker`: the steps in their order, then success forever.
    A script that is a function gives the step for each Produce request."""

    def __init__(self, script=(), produce_version=8, topic_answer=None, partitions=1):
        self.script = script if callable(script) else list(script)
        self.produce_version, self.topic_answer, self.partitions = produce_version, topic_answer, partitions
        self.requests = []              # the Produce requests that came
        self.next_offset = 1000
        self.lock, self.connections = threading.Lock(), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.bootstrap_servers = f"127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with self.lock:
                    self.connections.append(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while len(size := stream.read(4)) == 4:
                data = stream.read(struct.unpack(">i", size)[0])
                reply = self.reply(data)
                if reply is CUT:
                    return
                if reply is not NEVER:
                    connection.sendall(reply)

    def reply(self, data):
        key, version, correlation = struct.unpack_from(">hhi", data)
        if key == API_VERSIONS:
            apis = [(PRODUCE, 3, self.produce_version), (FETCH, 0, 4), (METADATA, 0, 4), (API_VERSIONS, 0, 0), (INIT_PRODUCER_ID, 0, 0)]
            body = int16(35 if version else 0) + array(struct.pack(">hhh", *api) for api in apis)
        elif key == METADATA:
            body = self.metadata(Request(data, flexible_from=9))
        elif key == INIT_PRODUCER_ID:
            body = int32(0) + int16(0) + int64(1) + int16(0)
        else:
            with self.lock:
                request = Produce(data)
                request.number = len(self.requests)
                self.requests.append(request)
                step = self.step(request)
            if request.acks == 0:
                return NEVER
            if step is NEVER or step is CUT:
                return step
            if isinstance(step, Raw):
                return step(request)
            body = (tags() if request.flexible else b"") + step(request)
        body = int32(correlation) + body
        return int32(len(body)) + body

    def step(self, request):
        if callable(self.script):
            return self.script(request)
        if self.script:
            return self.script.pop(0)
        self.next_offset += request.count
        return answer(offset=self.next_offset - request.count)

    def metadata(self, request):
        topics = [request.string() for _ in range(max(0, request.take(">i")))]
        data = int32(0) if request.version >= 3 else b""
        data += array([int32(1) + string("127.0.0.1") + int32(self.port) + string(None)])
        data += (string("scripted") if request.version >= 2 else b"") + int32(1)
        partitions = [(0, number, 1) for number in range(self.partitions)]
        return data + array(self.topic_answer(name) if self.topic_answer else a_topic(name, 0, partitions) for name in topics)


class Raw:
    """A step whose bytes go out as they are, frame and all."""

    def __init__(self, make):
        self.make = make

    def __call__(self, request):
        return self.make(request)


def a_topic(name, code, partitions):
    """A topic in an answer to Metadata version 1 to 4; partitions: (code, number, leader) triples."""
    return int16(code) + string(name) + b"\0" + array(
        int16(error) + int32(number) + int32(leader) + array([int32(1)]) + array([int32(1)]) for error, number, leader in partitions)
