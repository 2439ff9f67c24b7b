"""A Prometheus collector of librdkafka's statistics. Needs prometheus-client: `pip install "kafkapp[prometheus]"`."""
from kafkapp import _modules

_modules.install()     # again: sys.meta_path may have been put back since kafkapp was imported

try:
    import prometheus_client  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "prometheus_client":
        raise
    raise ModuleNotFoundError("kafkapp.prometheus needs prometheus-client: pip install 'kafkapp[prometheus]'",
                              name=error.name) from None

from kafkapp.prometheus.collector import KafkaCollector

__all__ = ["KafkaCollector"]
