"""Public classes say the package that exports them: no repr, traceback or pickle names a private module, which may move."""
import copy
import importlib
import inspect
import pickle
import pydoc
import re
import traceback
import typing

import pytest
from helpers import run_python

import kafkapp
import kafkapp.aio
import kafkapp.opentelemetry
import kafkapp.prometheus
import kafkapp.stats
import kafkapp.testing
import kafkapp.typing
from kafkapp import (
    BrokerMetadata,
    Error,
    ErrorCode,
    Header,
    KafkaException,
    Key,
    PersistedStatus,
    ProducerConfig,
    ProducerRecord,
    Properties,
    SendOption,
    Timestamp,
    Value,
    librdkafka_version,
)
from kafkapp.common.cluster_metadata import Node, PartitionInfo
from kafkapp.producer.record_metadata import _restore_metadata

MODULES = {module.__name__: module for module in (kafkapp, kafkapp.aio, kafkapp.opentelemetry, kafkapp.prometheus, kafkapp.stats, kafkapp.testing, kafkapp.typing)}
PUBLIC = {f"{name}.{attribute}": getattr(module, attribute) for name, module in MODULES.items() for attribute in module.__all__}
CLASSES = {name: thing for name, thing in PUBLIC.items() if isinstance(thing, type)}
CLASSES["kafkapp.Timestamp.Type"] = Timestamp.Type
MET = ["Node", "PartitionInfo"]      # without being exported
CLASSES |= {f"kafkapp.{name}": getattr(kafkapp, name) for name in MET}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def test_each_exported_class_is_looked_at():
    assert len(CLASSES) > 25 and {"kafkapp.ProducerRecord", "kafkapp.aio.SendFuture", "kafkapp.testing.ApiKey"} <= set(CLASSES)
    things = [thing for module in MODULES.values() for name, thing in vars(module).items() if not name.startswith("_")]
    assert [thing for thing in things if isinstance(thing, type) and thing not in CLASSES.values()] == []


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_says_where_it_is_exported(name):
    cls = CLASSES[name]
    module = "kafkapp" if cls is Timestamp.Type else name.rpartition(".")[0]
    assert f"{cls.__module__}.{cls.__qualname__}" == name and cls.__module__ == module and cls.__name__ == name.rpartition(".")[2]
    assert name in repr(cls) or repr(cls) == f"<enum '{cls.__name__}'>"
    assert f"in module {module}" in pydoc.render_doc(cls, renderer=pydoc.plaintext).splitlines()[0]
    for protocol in PROTOCOLS:
        assert pickle.loads(pickle.dumps(cls, protocol)) is cls and private(pickle.dumps(cls, protocol)) == set()
    assert copy.copy(cls) is copy.deepcopy(cls) is cls
    assert inspect.getmodule(cls) is MODULES[module]
    typing.get_type_hints(cls)


def test_the_same_for_the_functions():
    functions = {name: thing for name, thing in PUBLIC.items() if inspect.isroutine(thing)}
    assert set(functions) == {"kafkapp.librdkafka_version", "kafkapp.librdkafka_features", "kafkapp.opentelemetry.traced"}
    for name, function in functions.items():
        assert f"{function.__module__}.{function.__qualname__}" == name and pickle.loads(pickle.dumps(function)) is function


def private(pickled):
    """The modules of kafkapp that a pickle names, but for the public ones."""
    return {name.decode() for name in re.findall(rb"kafkapp(?:\.\w+)*", pickled)} - set(MODULES)


class Own(ProducerRecord):
    pass


class OwnException(KafkaException):
    pass


NODE = Node(1, "host", 9092)
SAMPLES = [
    ProducerRecord("t", 1, Key(b"k"), Value(b"v"), ["id"], headers=[("h", b"x"), Header("i", None)], timestamp=5), Own("t"),
    _restore_metadata("t", ("id", 1), 2, 3, 4, 5, 6, 7, 1, 2), Key(b"k"), Value("v"), Header("h", b"v"),
    Error(-184), Error(5, "more", is_fatal=True, is_retriable=False), ErrorCode(-184), ErrorCode(4711), PersistedStatus.Done,
    *(KafkaException(code, "more") for code in (-184, -185, -186, 7)), OwnException(-185),
    Timestamp(1), Timestamp.Type.LogAppendTime, *SendOption, *kafkapp.EventsPollingOption, *kafkapp.ActionWhileQueueIsFull,
    Properties({"acks": "all"}), ProducerConfig({"acks": "all"}),
    BrokerMetadata("t", [NODE], {0: PartitionInfo(NODE, [NODE], [])}, NODE), kafkapp.testing.ApiKey.Produce, kafkapp.testing.Request(1, 2, 3.5),
    librdkafka_version,
]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: getattr(sample, "__qualname__", type(sample).__name__))
def test_a_pickle_names_no_private_module(sample):
    done = 0
    for protocol in PROTOCOLS:
        try:
            pickled = pickle.dumps(sample, protocol)
        except TypeError as error:
            assert "__slots__" in str(error) and protocol < 2       # Python's protocols 0 and 1 have none of them
            continue
        assert private(pickled) == set() and type(pickle.loads(pickled)) is type(sample)
        done += 1
    assert done >= 4


def test_a_private_module_would_be_seen():
    assert private(pickle.dumps(importlib.import_module("kafkapp.common.timeouts").seconds_of)) == {"kafkapp.common.timeouts"}


def test_a_pickle_loads_where_nothing_is_imported_yet():
    code = "import pickle, sys; print(*(type(one).__qualname__ for one in pickle.loads(bytes.fromhex(sys.argv[1]))))"
    samples = [sample for sample in SAMPLES if type(sample) not in (Own, OwnException)]
    assert run_python(code, pickle.dumps(samples).hex()).split() == [type(sample).__qualname__ for sample in samples]


@pytest.mark.parametrize("code, name", [(3, "KafkaException"), (-184, "KafkaBufferError"), (-185, "KafkaTimeoutError"), (-186, "KafkaValueError")])
def test_a_traceback_says_kafkapp(code, name):
    assert "".join(traceback.format_exception_only(KafkaException(code))).startswith(f"kafkapp.{name}: ")


def test_messages_about_arguments_say_kafkapp():
    with pytest.raises(AttributeError, match=r"^'kafkapp\.Error' object has no attribute"):
        Error(1).unknown = 5


def test_a_subclass_is_in_the_module_of_its_own():
    class Made(kafkapp.KafkaSyncProducer):
        pass

    class Aio(kafkapp.aio.KafkaProducer):
        pass

    class More(Properties):
        pass

    for cls in (Own, OwnException, Made, Aio, More):
        assert cls.__module__ == __name__ and cls.__mro__[1].__module__ in MODULES
