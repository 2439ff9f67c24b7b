"""Metadata requests to one chosen broker, over a plain socket: client libraries choose the broker themselves.

Standard library only. What one broker reports, another may not know yet; a broker that a test has paused never answers,
so the request must bypass it.
"""

import dataclasses
import socket
import struct

METADATA, VERSION = 3, 1


@dataclasses.dataclass(frozen=True)
class Partition:
    leader: int  # -1: none
    replicas: list
    isrs: list  # the replicas in sync


@dataclasses.dataclass(frozen=True)
class View:
    brokers: set  # the ids of those alive
    topics: dict  # name -> {partition: Partition}, without the topics that it reports an error of


class _Reader:
    def __init__(self, data):
        self.data, self.place = data, 0

    def take(self, format_):
        (value,) = struct.unpack_from(format_, self.data, self.place)
        self.place += struct.calcsize(format_)
        return value

    def string(self):
        size = max(0, self.take(">h"))
        self.place += size
        return self.data[self.place - size : self.place].decode()

    def array(self):
        return range(self.take(">i"))

    def numbers(self):
        return [self.take(">i") for _ in self.array()]


def ask_metadata(host, port, topic=None, timeout=5):
    """What this broker says of the topic (of all when None); OSError when it does not answer."""
    asked = struct.pack(">i", -1) if topic is None else struct.pack(">ih", 1, len(topic)) + topic.encode()
    body = struct.pack(">hhi", METADATA, VERSION, 1) + struct.pack(">h", 5) + b"tests" + asked
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        with connection.makefile("rb") as stream:
            size = stream.read(4)
            answer = stream.read(struct.unpack(">i", size)[0]) if len(size) == 4 else b""
    if not answer:
        raise ConnectionError(f"{host}:{port} closed the connection")
    return _view(_Reader(answer))


def _view(answer):
    answer.take(">i")  # the correlation id
    view = View(set(), {})
    for _ in answer.array():
        view.brokers.add(answer.take(">i"))
        answer.string()  # its host
        answer.take(">i")  # its port
        answer.string()  # its rack
    answer.take(">i")  # the controller's id
    for _ in answer.array():
        error = answer.take(">h")
        name = answer.string()
        answer.take(">b")  # whether it is an internal topic
        partitions = {}
        for _ in answer.array():
            answer.take(">h")  # LEADER_NOT_AVAILABLE and the like: the leader is -1 then
            number = answer.take(">i")
            partitions[number] = Partition(answer.take(">i"), answer.numbers(), answer.numbers())
        if error == 0:
            view.topics[name] = partitions
    return view
