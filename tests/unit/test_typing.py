"""kafkapp.typing: the dicts of properties have those of librdkafka's own table, and kafkapp loads none of it by itself."""
import ctypes
import typing

import pytest

from helpers import LIBRDKAFKA, run_python

import kafkapp.typing
from kafkapp.common import errors
from kafkapp.config.names import CALLBACKS
from kafkapp.config.table import rows
from kafkapp.typing import ConsumerProperties, ProducerProperties

PINNED = (2, 15, 1)
# Handled or refused by kafkapp, or of no effect.
LEFT_OUT = {"internal.termination.signal", "builtin.features", "enabled_events"}
OF_KAFKAPP = {"max.pinned.bytes"}
KINDS = {"integer": int | str, "float": float | str, "boolean": bool | str}     # all else is str
DICTS = {ProducerProperties: "C", ConsumerProperties: "P"}      # and the mark in the table of what is not in it


def table(other):
    """(name, kind) of each property but those that the other kind of client has alone, without callbacks and what is set by functions of the C API."""
    library, libc = ctypes.CDLL(errors.__file__), ctypes.CDLL(None)     # the first has the symbols of the librdkafka that it is linked to
    libc.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    library.rd_kafka_conf_properties_show(stream)
    libc.fclose(stream)
    shown = ctypes.string_at(text, size.value).decode()
    libc.free(text)
    own = {line.split("|")[0].strip() for line in shown.splitlines() if line.count("|") > 4 and line.split("|")[1].strip() != other}
    return {name: row.kind for name, row in rows(shown).items() if name in own and row.kind != "see dedicated API"}


@pytest.mark.parametrize("dictionary", DICTS)
def test_the_dict_has_each_property_of_the_table(dictionary):
    hints = typing.get_type_hints(dictionary)
    names, keys = set(table(DICTS[dictionary])) - LEFT_OUT, set(hints) - CALLBACKS - OF_KAFKAPP
    assert len(names) > 90 and {"ssl.ca.location", "bootstrap.servers"} <= names
    assert ("linger.ms" in names, "group.id" in names) == ((True, False) if dictionary is ProducerProperties else (False, True))
    if LIBRDKAFKA == PINNED:
        assert sorted(names ^ keys) == []
    else:
        assert names <= keys if LIBRDKAFKA < PINNED else keys <= names
    assert CALLBACKS <= set(hints)


@pytest.mark.parametrize("dictionary", DICTS)
def test_a_value_has_the_kind_of_the_table(dictionary):
    hints = typing.get_type_hints(dictionary)
    wrong = {name: (hints[name], kind) for name, kind in table(DICTS[dictionary]).items() if name in hints and hints[name] != KINDS.get(kind, str)}
    assert wrong == {}


@pytest.mark.parametrize("dictionary", DICTS)
def test_no_property_is_required(dictionary):
    assert dictionary.__required_keys__ == frozenset() and dictionary() == {}


def test_callbacks_are_called_as_their_types_say():
    for name in kafkapp.typing.__all__:
        thing = getattr(kafkapp.typing, name)
        assert thing.__module__ == "kafkapp.typing" and thing.__doc__ and getattr(kafkapp.typing, name).__name__ == name


def test_a_producer_loads_none_of_it():
    code = """
import sys
import kafkapp
kafkapp.KafkaSyncProducer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}).close(0)
print([name for name in sys.modules if "kafkapp" in name and "typ" in name], "typing" in sys.modules and "-S" )
"""
    assert run_python(code).startswith("[] ")
