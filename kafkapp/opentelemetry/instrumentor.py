"""KafkaInstrumentor puts traced producers into the place of kafkapp's, and takes them away; traced() makes one."""
from collections.abc import Collection
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import trace
from opentelemetry.trace import TracerProvider

import kafkapp
import kafkapp.aio
from kafkapp.aio.producer import KafkaProducer
from kafkapp.opentelemetry.producers import TracedAsyncProducer, TracedLoopProducer, TracedSends, TracedSyncProducer
from kafkapp.producer.async_producer import KafkaAsyncProducer
from kafkapp.producer.sync_producer import KafkaSyncProducer


class Instrumentor:
    """What opentelemetry-instrumentation's BaseInstrumentor does, where that is not installed: there is one."""

    is_instrumented_by_opentelemetry = False
    _instance: Any = None

    def __new__(cls) -> Any:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def instrument(self, **kwargs: Any) -> None:
        if not self.is_instrumented_by_opentelemetry:
            self.is_instrumented_by_opentelemetry = True
            self._instrument(**kwargs)

    def uninstrument(self, **kwargs: Any) -> None:
        if self.is_instrumented_by_opentelemetry:
            self.is_instrumented_by_opentelemetry = False
            self._uninstrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        raise NotImplementedError

    def _uninstrument(self, **kwargs: Any) -> None:
        raise NotImplementedError


Base = Instrumentor
if not TYPE_CHECKING:
    try:
        from opentelemetry.instrumentation.instrumentor import BaseInstrumentor as Base
    except ImportError:
        pass

P = TypeVar("P")
# The classes themselves: under their public names there may be traced ones.
KINDS: dict[type, type] = {KafkaAsyncProducer: TracedAsyncProducer, KafkaSyncProducer: TracedSyncProducer,
                           KafkaProducer: TracedLoopProducer}


def traced(producer: type[P], tracer_provider: TracerProvider | None = None) -> type[P]:
    """A producer class whose records have spans: `TracedProducer = traced(KafkaAsyncProducer)`.

    Args:
        producer: KafkaAsyncProducer, KafkaSyncProducer, kafkapp.aio.KafkaProducer, or a subclass of one of them.
        tracer_provider: an opentelemetry.trace.TracerProvider; None: the global one.
    Returns:
        A subclass of `producer`; `producer` itself, if it is traced already. Of a subclass with sends of its own, what
        these send by `super()` has spans.
    Raises:
        TypeError: `producer` is no such class.
    """
    if not isinstance(producer, type) or not issubclass(producer, tuple(KINDS)):
        raise TypeError("traced() takes KafkaAsyncProducer, KafkaSyncProducer, kafkapp.aio.KafkaProducer or a subclass "
                        f"of one, not {producer!r}")
    if issubclass(producer, TracedSends):
        return producer
    [kind] = [of_kind for base, of_kind in KINDS.items() if issubclass(producer, base)]
    names = {name: getattr(producer, name) for name in ("__doc__", "__module__", "__qualname__")}
    tracer = trace.get_tracer("kafkapp", version("kafkapp"), tracer_provider)
    # Below a subclass, whose methods may take what no send of kafkapp's does, or send by another one.
    bases = (kind,) if producer in KINDS else (producer, kind)
    return type(producer.__name__, bases, {**names, "_tracer": tracer})


PLACES = ((kafkapp, "KafkaAsyncProducer"), (kafkapp, "KafkaSyncProducer"), (kafkapp.aio, "KafkaProducer"))


class KafkaInstrumentor(Base):
    """Traces all producers that are created by `kafkapp`'s names from now on; `opentelemetry-instrument` finds it.

    `instrument()` puts the classes that `traced` makes into the place of kafkapp.KafkaAsyncProducer,
    kafkapp.KafkaSyncProducer and kafkapp.aio.KafkaProducer. What has imported one of these names before keeps the
    class that it had. `uninstrument()` puts the classes back; producers that are traced stay so. Where
    opentelemetry-instrumentation is installed it is a BaseInstrumentor, and `instrument` takes what that takes.
    """

    __module__ = "kafkapp.opentelemetry"

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing: it comes with what it traces."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        self._replaced = [(place, name, getattr(place, name)) for place, name in PLACES]
        for place, name, producer in self._replaced:
            setattr(place, name, traced(producer, kwargs.get("tracer_provider")))

    def _uninstrument(self, **kwargs: Any) -> None:
        for place, name, producer in self._replaced:
            setattr(place, name, producer)
        self._replaced = []


traced.__module__ = "kafkapp.opentelemetry"
