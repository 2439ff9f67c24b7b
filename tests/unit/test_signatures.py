"""inspect.signature() and help() of everything public: the arguments, as the stubs have them, and no signature twice."""
import ast
import inspect
import pydoc
from pathlib import Path

import pytest

import kafkapp
import kafkapp.aio
import kafkapp.stats
import kafkapp.testing
import kafkapp.typing

MODULES = (kafkapp, kafkapp.aio, kafkapp.stats, kafkapp.testing, kafkapp.typing)
PUBLIC = {f"{module.__name__}.{name}": getattr(module, name) for module in MODULES for name in module.__all__}
CLASSES = {name: thing for name, thing in PUBLIC.items() if isinstance(thing, type)}
OF_DICT = {"kafkapp.typing.ProducerProperties", "kafkapp.typing.ConsumerProperties"}     # no class at run time, and dict has no signature
METHODS = {f"{name}.{method}": getattr(cls, method) for name, cls in CLASSES.items() for base in cls.__mro__
           if base.__module__.startswith("kafkapp") and name not in OF_DICT for method, thing in vars(base).items()
           if not method.startswith("_") and callable(getattr(cls, method)) and not isinstance(thing, type)}


def stub_arguments():
    """The arguments that make an object of a compiled class, by the stubs: of kafkapp.aio, or another."""
    found = {}
    for path in Path(kafkapp.__file__).parent.rglob("*.pyi"):
        for cls in ast.parse(path.read_text()).body:
            for method in cls.body if isinstance(cls, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef) and method.name in ("__init__", "__new__"):
                    arguments = method.args
                    names = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
                    found[path.parent.name == "aio", cls.name] = [argument.arg for argument in names if argument][1:]
    return found


STUBS = stub_arguments()


@pytest.mark.parametrize("name", sorted(set(CLASSES) - OF_DICT))
def test_a_class_says_what_makes_it(name):
    cls = CLASSES[name]
    signature = inspect.signature(cls)
    stub = STUBS.get((name.startswith("kafkapp.aio."), cls.__name__))
    if stub is not None and not issubclass(cls, int):
        assert [*signature.parameters] == stub
    text = pydoc.render_doc(cls, renderer=pydoc.plaintext)
    assert cls.__doc__ and "\n--\n" not in text.replace(" ", "")
    if stub is not None and cls.__init__ is not object.__init__ and not issubclass(cls, (int, Exception)):
        assert text.splitlines()[2].split("(")[0].endswith(f"class {cls.__name__}")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_its_arguments_once(name):
    method = METHODS[name]
    last = name.rpartition(".")[2]
    assert next(iter(inspect.signature(method).parameters), "self") != "args"
    documentation = inspect.getdoc(method)
    assert documentation and not documentation.startswith(f"{last}(") and "\n--\n" not in documentation


def test_no_property_shows_a_signature():
    properties = {f"{name}.{member}": thing for name, cls in CLASSES.items() for base in cls.__mro__ if base.__module__.startswith("kafkapp")
                  for member, thing in vars(base).items() if isinstance(thing, (property, type(kafkapp.Key.size)))}
    assert len(properties) > 20 and "kafkapp.ErrorCode.description" in properties
    assert [name for name, thing in properties.items() if "\n--\n" in (thing.__doc__ or "")] == []


def test_those_of_what_users_make():
    assert str(inspect.signature(kafkapp.KafkaAsyncProducer)) == "(properties, events_polling=<EventsPollingOption.Auto: 1>)"
    assert str(inspect.signature(kafkapp.ProducerRecord)) == "(topic, partition=None, key=None, value=None, id=None, *, headers=None, timestamp=None)"
    assert len(METHODS) > 60 and {"kafkapp.KafkaAsyncProducer.send_batch", "kafkapp.aio.KafkaProducer.flush"} <= set(METHODS)

    class Mine(kafkapp.KafkaSyncProducer):
        """Mine."""

    assert str(inspect.signature(Mine)) == "(properties)"
