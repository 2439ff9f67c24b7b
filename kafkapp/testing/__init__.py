"""librdkafka's embedded cluster, for tests."""
from kafkapp.testing.mock_cluster import ApiKey, MockCluster, Request

__all__ = ["ApiKey", "MockCluster", "Request"]
