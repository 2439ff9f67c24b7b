"""Every class that a user can reach, and everything that can be done to any object: no crash, no hang, a clear error.

A class of the package that is not in the table fails a test. Its rows run in a Python of their own: a crash is theirs.
"""
import ctypes
import importlib
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers import run_python

import kafkapp

pytestmark = pytest.mark.slow

PRODUCER = "{}(QUIET)"
RECORDS = "ProducerRecord('t', 1, b'k', bytearray(b'v'), 5, headers=[('h', b'x')])"
# The class: how to make one. None: nobody makes one, or its own tests have all of its life.
TABLE = {
    "Batch": "producer().send_batch('t', [b'v'])",
    "OutcomeColumn": "producer().send_batch('t', [b'v']).offsets.obj",
    "Finder": None, "Floor": None, "ConsumerFloor": None,
    "Client": None, "ArrowColumn": None, "HeadersColumn": None, "Timestamps": None,
    "Column": "cutting.split_lines(b'a\\nb\\n', 0, True, b'\\n').columns()[0]",
    "Lines": "cutting.split_lines(bytearray(b'a\\nb\\nc\\n'), 0, True, b'\\n')",
    "BatchTarget": None, "FutureTarget": None, "Hold": None, "Topic": None, "Waiter": None, "BatchSend": None,
    "Error": "Error(-184, 'more')",
    "KafkaException": "KafkaException(7)", "KafkaBufferError": "KafkaException(-184)",
    "KafkaTimeoutError": "KafkaException(-185)", "KafkaValueError": "KafkaException(-186)",
    "ErrorCode": "ErrorCode(-184)",
    "EventHandlers": None, "BadToken": "importlib.import_module('kafkapp.client.events').BadToken('x')",
    "Outbox": None, "CompletedFutures": None, "WaitingRecord": None, "WaitingBatch": None, "ProducerBase": None, "LoopSide": None, "LoopClient": None,
    "EventClient": None, "LoopBound": None, "Closable": None, "ConsumerSide": None, "ConsumerClient": None, "RecordCursor": None, "Wakeup": None, "ConsumerPolls": None, "Batches": None, "Subscribed": None,
    "RecordIterator": "aiter(aio.KafkaConsumer(QUIET))", "aio.KafkaConsumer": "aio.KafkaConsumer(QUIET)",
    "SendFuture": "in_loop(lambda: aio.KafkaProducer(QUIET | {'message.timeout.ms': 50, 'linger.ms': 0}).send(ProducerRecord('t')))",
    "KafkaProducer": "aio.KafkaProducer(QUIET)",
    "Handle": None, "DeferredRelease": None, "Service": None, "ProducerService": None,
    "Producer": None,
    "KafkaClient": None, "KafkaConsumer": "KafkaConsumer(QUIET)", "PollingConsumer": None, "PartitionConsumer": None, "ConsumerService": None, "UnorderedOffsetCommitQueue": "CLASS()", "PendingCommit": None, "AutoCommit": None, "RecordQueue": None, "KeptMessages": None, "Turn": None, "BlockingPartitionsCall": None,
    "Subscription": None, "RebalanceEvent": "RebalanceEvent.Lost", "ConsumerGroupMetadata": "ConsumerGroupMetadata('g', 1, 'm', None)",
    "ConsumedBatch": "KafkaConsumer(QUIET).poll_batch(0)", "BatchIterator": "iter(KafkaConsumer(QUIET).poll_batch(0))", "ConsumedBlock": None, "ConsumedColumn": "KafkaConsumer(QUIET).poll_batch(0).value_data.obj",
    "ConsumerRecord": "importlib.import_module('kafkapp')._restore_consumer_record('t', 1, 2, 3, 1, 4, b'k', b'v', ((b'h', None),))", "TopicPartition": "TopicPartition('t', 0)", "Offset": "Offset.End",
    "KafkaAsyncProducer": PRODUCER.format("KafkaAsyncProducer"), "KafkaSyncProducer": PRODUCER.format("KafkaSyncProducer"),
    "ProducerRecord": RECORDS,
    "RecordMetadata": "importlib.import_module('kafkapp')._restore_metadata('t', 1, 2, 3, 4, 5, 6, 7, 1, 2)",
    "PersistedStatus": "PersistedStatus.Done",
    "BlockingCall": None, "BlockingMetadataCall": None, "BlockingOffsetsCall": None, "BlockingPurgeCall": None, "BlockingTransactionCall": None,
    "RepeatedCall": None,
    "Transaction": "producer().transaction()", "LoopTransaction": "aio.KafkaProducer(QUIET).transaction()", "TransactionCalls": None, "LoopEvent": None, "RecordFuture": None,
    "MockCluster": "testing.MockCluster()",
    "TimeoutRangeError": "importlib.import_module('kafkapp.common.timeouts').TimeoutRangeError('x')",
    "View": None, "Key": "Key(bytearray(b'k'))", "Value": "Value('text')", "Header": "Header('h', b'v')",
    "Properties": "Properties({'acks': 'all'})", "ProducerConfig": "ProducerConfig({'acks': 'all'})", "ConsumerConfig": "ConsumerConfig({'group.id': 'g'})", "ClientConfig": None,
    "Row": None,
    "Malformed": "importlib.import_module('kafkapp.config.java_properties').Malformed('x')",
    "Node": "metadata.Node(1)", "PartitionInfo": "metadata.PartitionInfo(metadata.Node(1), [], [])",
    "BrokerMetadata": "BrokerMetadata('t', [], {})",
    "ApiKey": "testing.ApiKey.PRODUCE", "Request": "testing.Request(1, 2, 3.0)",
    "StoredRecord": "testing.StoredRecord('t', 0, 1, None, b'v', [], 5)",
    "Option": None, "SendOption": "SendOption.ToCopyRecordValue",
    "EventsPollingOption": "EventsPollingOption.Auto", "ActionWhileQueueIsFull": "ActionWhileQueueIsFull.Block",
    "Timestamp": "Timestamp(5)",
    "KafkaCollector": "CLASS(None)", "Metric": None,
    "KafkaInstrumentor": None, "Instrumentor": None, "TracedSends": None, "TracedAsyncProducer": None, "TracedSyncProducer": None,
    "TracedLoopProducer": None, "Call": None, "Sending": None, "BatchSending": None, "HeaderSetter": None,
    "Statistics": "CLASS('{}')", "Parts": None, "Part": None, "Field": None, "Object": None, "Optional": None, "Table": None,
    **dict.fromkeys(("BrokerStatistics", "TopicStatistics", "PartitionStatistics", "BrokerPartition", "Window", "ConsumerGroup", "ExactlyOnce", "Fatal"), "CLASS({'name': 'x'})"),
    **dict.fromkeys(("LogCallback", "ErrorCallback", "StatsCallback", "TokenRefreshCallback", "DeliveryCallback", "BatchCallback", "CommitCallback", "ProducerProperties", "ConsumerProperties", "ClientProperties", "OfProducers", "OfConsumers")),
    "Type": None,
}
PROGRAMS = {"__main__", "__pyinstaller", "bench", "cli"}     # nobody imports these

# Classes with memory, holds or librdkafka's objects: whether the garbage collector may clear their fields before
# __dealloc__, and why. `keeps`: it may not, @cython.no_gc_clear; all else of a cycle is mutable, and ends it.
ENDS = {
    "Batch": ("keeps", "reports are written into its columns, and completing it needs values, keys and client"),
    "OutcomeColumn": ("keeps", "exports the batch's memory"),
    "BatchSend": ("keeps", "its buffers are released, not dropped, and ending it needs client and batch"),
    "Floor": ("no fields", "C only"), "ConsumerFloor": ("no fields", "C only"),
    "Client": ("keeps", "its base destroys the handle, and events need the handlers"),
    "Column": ("keeps", "librdkafka reads what it holds"),
    "ArrowColumn": ("keeps", "as Column"), "HeadersColumn": ("keeps", "as Column"),
    "Timestamps": ("keeps", "as Column"),
    "Lines": ("keeps", "whether the memory is its own is said by a field; its buffer is released, not dropped"),
    "Hold": ("no fields", "C only"),
    "SendFuture": ("clears", "callbacks may refer to it; __dealloc__ and each method do with what is None"),
    "Handle": ("keeps", "the topics are destroyed before the handle, and the holds after it"),
    "ProducerService": ("keeps", "what records in flight hold is released when they are reported"),
    "DeferredRelease": ("clears", "a thread has it until nothing is left; __dealloc__ has a C pointer only"),
    "PollingConsumer": ("clears", "a consumer has no __dealloc__; __del__ comes before its fields are cleared"),
    "RecordQueue": ("clears", "__dealloc__ has a C pointer only"),
    "KeptMessages": ("no fields", "C only"),
    "ConsumedBlock": ("no cycle", "it refers to strings only; so what refers to it alone, as the next ones, is in none: @cython.no_gc"),
    "ConsumedColumn": ("no cycle", "exports the block's memory"),
    "ConsumedBatch": ("no cycle", "exports the block's memory"), "BatchIterator": ("no cycle", "reads the block's memory"),
    "ConsumerRecord": ("no cycle", "reads the block's memory"),
    "View": ("keeps", "its memory needs the owner"), "Key": ("keeps", "as View"), "Value": ("keeps", "as View"),
    "BlockingPartitionsCall": ("keeps", "its thread reads the list until it ends"),
    "BlockingMetadataCall": ("keeps", "its thread reads the topic until it ends"),
    "MockCluster": ("clears", "__dealloc__ has C pointers only; close() needs the lock, and comes from __del__, before that"),
}


def classes():
    """All of the package, by name: wherever they are."""
    found = {}
    listed = {module.name for module in pkgutil.walk_packages(kafkapp.__path__, "kafkapp.")}
    for module in sorted(listed | kafkapp._modules.NAMES):
        name = module.removeprefix("kafkapp.")
        if name.split(".")[0] in PROGRAMS - {"bench"} or name.startswith("bench") and name not in ("bench.floor", "bench.consumer_floor"):
            continue
        for thing in vars(importlib.import_module(module)).values():
            if isinstance(thing, type) and thing.__module__.startswith("kafkapp") and not re.match(r"_|.*scope_struct|.*\._", thing.__name__):
                key = f"aio.{thing.__name__}" if thing.__module__ == "kafkapp.aio" and hasattr(kafkapp, thing.__name__) else thing.__name__
                assert found.setdefault(key, thing) is thing, f"two classes are called {key}"
    return found


def test_every_class_is_in_the_table():
    assert sorted(set(classes()) - set(TABLE)) == [], "to be given a row"
    assert sorted(set(TABLE) - set(classes())) == ["Type"]       # nested in Timestamp


def tp_clear(cls):
    """The address of what clears an object's fields; None: they are kept. Where it is in a type: Include/cpython/object.h."""
    place = id(cls) + object.__basicsize__ + ctypes.sizeof(ctypes.c_ssize_t) + 21 * ctypes.sizeof(ctypes.c_void_p)
    return ctypes.c_void_p.from_address(place).value


def test_no_class_loses_what_its_end_needs():
    """The rule: a class whose __dealloc__ needs a field that the collector could clear keeps them all."""
    found = classes()
    for name, (way, _) in ENDS.items():
        assert (tp_clear(found[name]) is not None) == (way == "clears") , name
    sources = Path(kafkapp.__file__).parent.rglob("*.pyx")
    having = {match.group(1) for path in sources for match in re.finditer(r"^cdef class (\w+)(?:(?!^cdef class )[\s\S])*?def __dealloc__", path.read_text(), re.M)}
    assert having <= set(ENDS), "a class with __dealloc__ has to say how it ends"
    assert tp_clear(list) is not None and tp_clear(tuple) is None          # they are read at the right place


START = r"""
import asyncio, copy, faulthandler, gc, importlib, inspect, os, pickle, sys, threading, warnings
faulthandler.enable()
faulthandler.dump_traceback_later(60, exit=True)
warnings.simplefilter("ignore")
import kafkapp.aio as aio, kafkapp.producer.line_splitter as cutting, kafkapp.common.cluster_metadata as metadata, kafkapp.producer.record as records, kafkapp.testing as testing
from kafkapp import *
QUIET = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "error_cb": lambda error: None, "log_cb": lambda *log: None}
producers = []
unraised = []
sys.unraisablehook = lambda args: unraised.append(args.exc_value)

def producer():
    producers.append(KafkaAsyncProducer(QUIET | {"linger.ms": 60000}, EventsPollingOption.Manual))
    return producers[-1]

def in_loop(call):
    async def main():
        made = call()
        return made
    return asyncio.new_event_loop().run_until_complete(main())

def make():
    return eval(sys.argv[2])

CLASS = getattr(importlib.import_module(sys.argv[3]), sys.argv[1].removeprefix("aio."))
# What may be said: no word of what is inside, and nothing of Python's own about itself.
GOOD = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, BufferError, KafkaException, NotImplementedError,
        OverflowError, ZeroDivisionError, pickle.PicklingError, StopIteration, asyncio.CancelledError, asyncio.InvalidStateError, OSError)

def attempt(call, *args, **named):
    try:
        return call(*args, **named)
    except GOOD as error:
        assert not isinstance(error, SystemError) and "NoneType' object has no attribute" not in str(error), repr(error)
    except BaseException as error:
        raise AssertionError(f"{call}: {error!r}") from error

ARGUMENTS = [(), (0,), (None,), (b"v",), ("t",), (ProducerRecord("t"),), (print,), ("t", [b"v"]), (0, 0), ("t", 0, None)]
SKIP = {"init_transactions", "commit_transaction", "abort_transaction", "__init__", "__new__", "__class__", "__init_subclass__", "__subclasshook__",
        "fetch_broker_metadata", "list_topics", "round_trips", "end_offset", "beginning_offsets", "end_offsets", "offsets_for_times",
        "committed", "commit_sync", "seek", "seek_to_beginning", "seek_to_end"}         # they wait for brokers
WAITS = {"wait", "flush", "close", "poll_events", "poll", "poll_batch"}       # as long as their timeout

def poke(thing, *, calls=True):
    "All that can be read, and all that can be called."
    for call in (repr, str, hash, len, bool, bytes, memoryview, list, lambda one: one == one, lambda one: one != 5, gc.is_tracked, sys.getsizeof):
        attempt(call, thing)
    for name in dir(thing):
        if name in SKIP:
            continue
        value = attempt(getattr, thing, name)
        if calls and callable(value) and not isinstance(value, type) and (name[0] != "_" or name[:2] == "__"):
            for args in [(0,)] if name in WAITS else ARGUMENTS[:4] if name[0] == "_" else ARGUMENTS:
                answer = attempt(value, *args)
                if inspect.iscoroutine(answer):
                    answer.close()
    attempt(lambda: attempt(setattr, thing, "new", 1))

def in_cycle():
    class Node:
        pass
    node = Node()
    node.me, node.thing = node, make()
    import weakref
    return weakref.ref(node)

def on_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(40)
    assert not thread.is_alive()

def closed(one):
    return in_loop(lambda: None) if isinstance(one, (aio.KafkaProducer, aio.KafkaConsumer)) else getattr(one, "close", lambda *timeout: None)

def purged():
    for one in producers:
        attempt(one.close, 0)
    producers.clear()
"""

ROWS = {
    "made by __new__": """
        thing = attempt(CLASS.__new__, CLASS)
        if thing is not None:
            poke(thing)
            attempt(copy.copy, thing), attempt(copy.deepcopy, thing), attempt(pickle.dumps, thing)
            for again in range(2):
                attempt(thing.__init__)
            poke(thing)
            attempt(lambda: thing.close(0))
            del thing
        gc.collect()""",
    "a subclass without super().__init__()": """
        try:
            class Sub(CLASS):
                def __init__(self, *args):
                    pass
        except TypeError as error:
            assert "base type" in str(error) or "extend" in str(error), error
        else:
            thing = attempt(Sub)
            thing = attempt(CLASS.__new__, Sub) if thing is None else thing
            if thing is not None:
                poke(thing)
                attempt(lambda: thing.close(0))
            del thing
            gc.collect()""",
    "its methods called with another object": """
        for name, method in vars(CLASS).items():
            if callable(method) and not isinstance(method, (type, classmethod, staticmethod)):
                for other in (5, object(), bytearray(400), ProducerRecord):
                    for args in ((), (None,), ("t", None), (ProducerRecord("t"),)):
                        try:
                            method(other, *args)
                        except Exception:       # of a class that is written in Python: any
                            pass""",
    "initialised twice": """
        thing = make()
        for args in ((), (QUIET,), (b"x",), ("t",), (1,), (-184, "more"), ("h", b"x")):
            attempt(thing.__init__, *args)
        poke(thing, calls=False)
        attempt(lambda: thing.close(0))""",
    "poked": """
        poke(make())""",
    "copied": """
        thing = make()
        for way in (copy.copy, copy.deepcopy, *(lambda one, p=p: pickle.loads(pickle.dumps(one, p)) for p in range(6))):
            made = attempt(way, thing)
            if made is not None:
                poke(made, calls=False)
                assert isinstance(made, type(thing))
        poke(thing, calls=False)
        attempt(lambda: thing.close(0))""",
    "in a cycle": """
        gc.collect()
        node = in_cycle()
        purged()
        gc.collect()
        assert node() is None""",
    "in a cycle of its own": """
        thing = make()
        held = []
        for name in ("id", "key", "value", "headers"):
            attempt(setattr, thing, name, [thing])
        attempt(lambda: thing.add_done_callback(thing.cancel))
        attempt(lambda: setattr(thing, "more", thing))
        purged()
        del thing
        gc.collect()""",
    "dropped on another thread": """
        things = [make()]
        on_thread(lambda: (things.clear(), gc.collect()))""",
    "made on another thread": """
        on_thread(lambda: poke(make(), calls=False))
        gc.collect()""",
    "dropped by a callback": """
        things = [make()]
        def callback(*report):
            things.clear()
            gc.collect()
        with KafkaAsyncProducer(QUIET | {"linger.ms": 60000}) as serving:
            serving.send(ProducerRecord("t", value=bytearray(b"v")), callback)
            serving.purge()
            serving.flush(20)
        assert not things""",
    "used after close": """
        thing = make()
        if hasattr(thing, "close") and not isinstance(thing, (aio.KafkaProducer, aio.KafkaConsumer)):
            thing.close(*((0,) if "Producer" in sys.argv[1] else ()))
        purged()
        poke(thing)""",
    "after a fork": """
        thing = make()
        child = os.fork()
        if child == 0:
            try:
                poke(thing)
                del thing
                gc.collect()
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        poke(thing, calls=False)
        attempt(lambda: thing.close(0))""",
    "at exit": """
        purge_later = make()
        if "Producer" in sys.argv[1] or producers:
            threading.Timer(0.1, lambda: [attempt(one.purge) for one in [*producers, purge_later] if hasattr(one, "purge")]).start()""",
    "in a cycle at exit": """
        gc.disable()
        in_cycle()
        for one in producers:
            attempt(one.purge)""",
}


BARE = ["made by __new__", "a subclass without super().__init__()", "its methods called with another object"]
LAST = [row for row in ROWS if "at exit" in row]


@pytest.mark.parametrize("name", [name for name in TABLE if name != "Type"])
def test_made_by_new_or_by_half(name):
    """Of every class, those too that are the package's own."""
    run_rows(name, BARE)


@pytest.mark.parametrize("name", [name for name, how in TABLE.items() if how])
def test_what_can_be_done_to_any_object(name):
    run_rows(name, [row for row in ROWS if row not in BARE + LAST])


@pytest.mark.parametrize("row", LAST)
@pytest.mark.parametrize("name", [name for name, how in TABLE.items() if how])
def test_left_at_exit(name, row):
    run_rows(name, [row])


def run_rows(name, rows):
    """In one Python, which says in which row it is; each leaves nothing to the next."""
    code = START
    for row in rows:
        body = textwrap.indent(textwrap.dedent(ROWS[row]), "    ")
        code += f"\nprint({row!r}, flush=True)\n" + (f"def row():\n{body}\nrow()\npurged()\n" if row not in LAST else textwrap.dedent(ROWS[row]))
    said = run_python(code, name, TABLE[name] or "None", classes()[name].__module__, timeout=90)
    assert said.splitlines() == rows, said


def test_a_crash_would_be_seen():
    """The control: what ends a Python, or hangs it, is not taken for an error."""
    with pytest.raises(AssertionError, match="exit status -"):
        run_python(START + "import ctypes; ctypes.string_at(0)", "Key", "None", "kafkapp")
    with pytest.raises(AssertionError, match="inside"):
        run_python(START + "attempt(lambda: None.inside)", "Key", "None", "kafkapp")
    assert subprocess.run([sys.executable, "-c", "1"], check=True).returncode == 0
