"""A broker for producers whose answers a test chooses: offsets, times, refusals of single records, words.

Layer: test helper, standard library only. The embedded cluster answers as a broker should; this one also as brokers do.
"""
import contextlib
import dataclasses
import socket
import struct
import threading

PRODUCE, FETCH, METADATA, API_VERSIONS, INIT_PRODUCER_ID = 0, 1, 3, 18, 22
SUPPORTED = {PRODUCE: 8, FETCH: 4, METADATA: 4, API_VERSIONS: 0, INIT_PRODUCER_ID: 1} # Fetch: else records are sent in the old format
UNSUPPORTED_VERSION = 35


@dataclasses.dataclass(frozen=True)
class Asked:
    """One partition's records in a Produce request."""
    topic: str
    partition: int
    count: int      # of records
    number: int     # of the request among all, from 0


@dataclasses.dataclass(frozen=True)
class Answer:
    error: int = 0
    offset: int = -1
    append_time: int = -1
    record_errors: tuple = ()   # (index, words or None)
    words: str | None = None


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


class Reader:
    def __init__(self, data, place=0):
        self.data, self.place = data, place

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.place)
        self.place += struct.calcsize(form)
        return values if len(values) > 1 else values[0]

    def string(self):
        size = self.take(">h")
        self.place += max(0, size)
        return None if size < 0 else self.data[self.place - size:self.place].decode()


class ScriptedBroker:
    """`answer(asked)` gives an Answer; where it gives None the connection is closed instead."""

    def __init__(self, answer, partitions=1):
        self.answer, self.partitions, self.asked = answer, partitions, []
        self.connections, self.lock = [], threading.Lock()

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *failure):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while len(size := stream.read(4)) == 4:
                request = Reader(stream.read(struct.unpack(">i", size)[0]))
                key, version, correlation = request.take(">hhi")
                request.string()    # the client's id
                made = {PRODUCE: self.produce, METADATA: self.metadata, API_VERSIONS: self.api_versions,
                        INIT_PRODUCER_ID: lambda version, request: struct.pack(">ihqh", 0, 0, 1000, 0)}[key](version, request)
                if made is False:
                    return
                if made is not None:
                    connection.sendall(struct.pack(">ii", len(made) + 4, correlation) + made)

    def api_versions(self, version, request):
        body = b"".join(struct.pack(">hhh", key, 0, most) for key, most in SUPPORTED.items())
        return struct.pack(">hi", UNSUPPORTED_VERSION if version else 0, len(SUPPORTED)) + body

    def metadata(self, version, request):
        topics = [request.string() for _ in range(max(0, request.take(">i")))]
        body = struct.pack(">i", 0) if version >= 3 else b""
        body += struct.pack(">ii", 1, 1) + string("127.0.0.1") + struct.pack(">i", self.port)
        if version >= 1:
            body += string(None)    # the rack
        if version >= 2:
            body += string("scripted")
        body += (struct.pack(">i", 1) if version >= 1 else b"") + struct.pack(">i", len(topics))
        for topic in topics:
            body += struct.pack(">h", 0) + string(topic) + (b"\0" if version >= 1 else b"") + struct.pack(">i", self.partitions)
            for partition in range(self.partitions):
                body += struct.pack(">hiiiiii", 0, partition, 1, 1, 1, 1, 1)
        return body

    def produce(self, version, request):
        if version >= 3:
            request.string()        # the transaction's id
        acks, _, topics = request.take(">hii")
        body = struct.pack(">i", topics)
        for _ in range(topics):
            topic, partitions = request.string(), request.take(">i")
            body += string(topic) + struct.pack(">i", partitions)
            for _ in range(partitions):
                partition, size = request.take(">ii")
                # Behind a batch's offset, length, epoch, magic, checksum and attributes.
                count = struct.unpack_from(">i", request.data, request.place + 23)[0] + 1
                request.place += size
                with self.lock:
                    self.asked.append(Asked(topic, partition, count, len(self.asked)))
                    answer = self.answer(self.asked[-1])
                if answer is None:
                    return False
                body += struct.pack(">ih", partition, answer.error) + struct.pack(">q", answer.offset)
                body += struct.pack(">q", answer.append_time) if version >= 2 else b""
                body += struct.pack(">q", 0) if version >= 5 else b""
                if version >= 8:
                    body += struct.pack(">i", len(answer.record_errors))
                    body += b"".join(struct.pack(">i", index) + string(words) for index, words in answer.record_errors)
                    body += string(answer.words)
        return body + struct.pack(">i", 0) if acks else None
