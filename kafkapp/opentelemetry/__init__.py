"""OpenTelemetry spans for what producers send. Needs opentelemetry-api: `pip install "kafkapp[otel]"`."""
from kafkapp import _modules

_modules.install()     # again: sys.meta_path may have been put back since kafkapp was imported

from kafkapp.common.extras import import_extra

import_extra("opentelemetry.trace", needed_by="kafkapp.opentelemetry", package="opentelemetry-api", extra="otel")

from kafkapp.opentelemetry.instrumentor import KafkaInstrumentor, traced

__all__ = ["KafkaInstrumentor", "traced"]
