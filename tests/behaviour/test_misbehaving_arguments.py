"""Misbehaving arguments: mappings, numbers, topics, timeouts, references, and other packages' buffers.

As in test_misbehaving_objects.py: no crash, no hang, nothing held.
"""
import textwrap

import pytest
from misbehaving import run_case

pytestmark = pytest.mark.slow

OTHERS = {
    "mapping": """
        class Evil(dict):
            def keys(self):
                attempt(lambda: producer.flush(0)); gc.collect()
                return super().keys()
            def __getitem__(self, name):
                evil(producer)
                return super().__getitem__(name)
        with KafkaAsyncProducer(Evil(NOWHERE)) as other:
            evil(other)""",
    "mapping that raises": """
        class Evil(dict):
            def __getitem__(self, name):
                raise OSError("mine")
        attempt(lambda: KafkaAsyncProducer(Evil(NOWHERE)), lambda: KafkaSyncProducer(Evil(NOWHERE)))
        assert [type(exc) for exc in raised] == [OSError, OSError]""",
    "mapping that makes the producer": """
        class Evil(dict):
            def __getitem__(self, name):
                attempt(lambda: made.__init__(NOWHERE))
                return super().__getitem__(name)
        made = KafkaAsyncProducer.__new__(KafkaAsyncProducer)
        attempt(lambda: made.__init__(Evil(NOWHERE)))
        assert raised and all(type(exc) is RuntimeError for exc in raised), raised
        made.close(0)""",
    "index": """
        class Evil:
            def __index__(self):
                evil(producer, close=True)
                return 1
        record = ProducerRecord("t", value=b"v")
        attempt(lambda: setattr(record, "partition", Evil()), lambda: setattr(record, "timestamp", Evil()),
                lambda: producer.send(record), lambda: producer.flush(Evil()), lambda: ProducerRecord("t", Evil()))
        assert record.partition == 1""",
    "hash and equality of a topic": """
        class Evil(str):
            def __hash__(self):
                evil(producer, close=True)
                return 5
            def __eq__(self, other):
                evil(producer, close=True)
                return True
        attempt(lambda: producer.send(ProducerRecord(Evil("t"), value=b"v"), callback),
                lambda: producer.fetch_broker_metadata(Evil("t"), 0.1), lambda: producer.get_property(Evil("acks")),
                lambda: producer.send_batch(Evil("u"), [b"v"]))""",
    "timeout": """
        class Evil:
            def total_seconds(self):
                evil(producer, close=True)
                return 0.1
        attempt(lambda: producer.flush(Evil()), lambda: producer.close(Evil()), lambda: producer.fetch_broker_metadata("t", Evil()))
        class Lying:
            def total_seconds(self):
                return "long"
        attempt(lambda: producer.flush(Lying()), lambda: producer.flush(float("nan")))""",
    "repr of an option": """
        class Evil:
            def __repr__(self):
                evil(producer, close=True)
                return "evil"
        attempt(lambda: producer.send(ProducerRecord("t"), None, Evil()), lambda: producer.send(ProducerRecord("t"), action=Evil()))
        assert any(type(exc) is TypeError for exc in raised)""",
    "not callable": """
        class Meta(type):
            def __call__(cls, *a):
                evil(producer)
        class Evil(metaclass=Meta):
            pass
        attempt(lambda: producer.send(ProducerRecord("t", value=b"v"), Evil))""",
    "weak reference": """
        import weakref
        weakref.finalize(producer, lambda: 1)
        class Evil:
            pass
        held = Evil()
        watch = weakref.ref(held, lambda _: evil(producer, close=True))
        attempt(lambda: producer.send(ProducerRecord("t", value=b"v", id=held), callback))
        del held""",
    "cycle": """
        class Evil(bytearray):
            pass
        for _ in range(5):
            lost = new(kind, message_timeout_ms=100)
            value = Evil(b"v")
            value.producer = lost
            attempt(lambda: lost.send(ProducerRecord("t", value=value, id=value), lambda metadata, error, lost=lost: reports.append(error)))
            del lost, value
        gc.collect()
        deadline = time.monotonic() + 20
        while (len(reports) < 5 or sum("kafkapp" in thread.name for thread in threading.enumerate()) > 1) and time.monotonic() < deadline:
            gc.collect(); time.sleep(0.05)
        assert time.monotonic() < deadline and len(reports) == 5, [thread.name for thread in threading.enumerate()]""",
    "threads that close what others use": """
        def use():
            for i in range(300):
                attempt(lambda: producer.send(ProducerRecord(f"t{i}", value=bytearray(b"v"))), lambda: producer.flush(0),
                        lambda: producer.poll_events(0), lambda: len(producer))
        threads = [threading.Thread(target=use) for _ in range(3)] + [threading.Thread(target=lambda: (time.sleep(0.01), producer.close(0)))
                                                                      for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join(30) for thread in threads]
        assert not any(thread.is_alive() for thread in threads)""",
    "metadata while another thread closes": """
        for _ in range(10):
            it = new(kind)
            threads = [threading.Thread(target=lambda: attempt(lambda: it.fetch_broker_metadata("t", 0.05))),
                       threading.Thread(target=lambda: attempt(lambda: it.close(0))), threading.Thread(target=lambda: attempt(lambda: it.close(0)))]
            [thread.start() for thread in threads]
            [thread.join(30) for thread in threads]
            it.close(0)""",
}


@pytest.mark.parametrize("kind", ["Auto", "Manual"])
@pytest.mark.parametrize("what", OTHERS)
def test_misbehaving_arguments(tmp_path, what, kind):
    run_case(tmp_path, "producer = new(kind, message_timeout_ms=300)\n" + textwrap.dedent(OTHERS[what]) + "\nend(producer)", kind)


@pytest.mark.parametrize("what", ["numpy", "mmap", "pickle", "ctypes"])
def test_buffers_of_others_are_held(tmp_path, what):
    """What could pull its memory away is refused while a record is in flight, and free afterwards."""
    run_case(tmp_path, f'''
    import ctypes, io, mmap, pickle
    producer = new("Auto", linger_ms=50000)
    if {what == "numpy"}:
        import numpy
        class Evil(numpy.ndarray):
            def __array_finalize__(self, other):
                evil(producer)
        memory = numpy.zeros(100, "u1").view(Evil)
        producer.purge(), producer.flush(5), reports.clear()
        producer.send(ProducerRecord("t", value=memory), callback)
        attempt(lambda: memory.resize(10**6, refcheck=False))
    elif {what == "mmap"}:
        memory = mmap.mmap(-1, 5000)
        producer.send(ProducerRecord("t", value=memory), callback)
        for call in (memory.close, lambda: memory.resize(10)):
            try:
                call()
            except (BufferError, SystemError):
                raised.append(1)
        assert len(raised) == 2
    elif {what == "pickle"}:
        memory = pickle.PickleBuffer(bytearray(100))
        producer.send(ProducerRecord("t", value=memory), callback)
        attempt(memory.release)
    else:
        memory = (ctypes.c_char * 100)()
        producer.send(ProducerRecord("t", value=memory), callback)
        attempt(lambda: ctypes.resize(memory, 10**6))
    assert len(producer) == 1
    end(producer)
    assert len(reports) == 1
    memory.close() if {what == "mmap"} else None
    ''')
