# C interface of kafkapp.testing.requests.

from kafkapp._librdkafka.mock cimport rd_kafka_mock_request_t

# Raises NotImplementedError with a librdkafka that cannot track requests.
cdef int check_tracking() except -1

# As a list of Request. Destroys them.
cdef list take_requests(rd_kafka_mock_request_t **requests, size_t count)
