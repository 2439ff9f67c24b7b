"""librdkafka's embedded cluster, for tests."""
from kafkapp import _modules

_modules.install()     # again: sys.meta_path may have been put back since kafkapp was imported

from kafkapp.testing.mock_cluster import ApiKey, MockCluster, Request, StoredRecord

__all__ = ["ApiKey", "MockCluster", "Request", "StoredRecord"]
