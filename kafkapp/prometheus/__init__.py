"""A Prometheus collector of librdkafka's statistics. Needs prometheus-client: `pip install "kafkapp[prometheus]"`."""
from kafkapp import _modules

_modules.install()     # again: sys.meta_path may have been put back since kafkapp was imported

from kafkapp.common.extras import import_extra

import_extra("prometheus_client", needed_by="kafkapp.prometheus", package="prometheus-client", extra="prometheus")

from kafkapp.prometheus.collector import KafkaCollector

__all__ = ["KafkaCollector"]
