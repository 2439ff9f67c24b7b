"""Requests: what the brokers of the embedded cluster have received, where librdkafka can track it."""
from kafkapp._librdkafka.mock cimport (
    rd_kafka_mock_get_requests, rd_kafka_mock_request_api_key, rd_kafka_mock_request_destroy, rd_kafka_mock_request_id,
    rd_kafka_mock_request_t, rd_kafka_mock_request_timestamp)
from kafkapp._librdkafka.rdkafka cimport rd_kafka_mem_free, rd_kafka_version_str

from kafkapp.testing.arguments import ApiKey, Request


cdef int check_tracking() except -1:
    if <void *>rd_kafka_mock_get_requests == NULL:      # a weak symbol: see mock.pxd
        raise NotImplementedError(f"librdkafka {rd_kafka_version_str().decode()} cannot track requests: "
                                  "use a newer one")
    return 0


cdef object from_c_api(int key):
    try:
        return ApiKey(key)
    except ValueError:
        return key


cdef list take_requests(rd_kafka_mock_request_t **requests, size_t count):
    cdef rd_kafka_mock_request_t *request
    cdef list found = []
    cdef size_t i
    try:
        for i in range(count):
            request = requests[i]
            found.append(Request(rd_kafka_mock_request_id(request), from_c_api(rd_kafka_mock_request_api_key(request)),
                                 rd_kafka_mock_request_timestamp(request) / 1e6))
        return found
    finally:
        for i in range(count):
            rd_kafka_mock_request_destroy(requests[i])
        if requests != NULL:
            rd_kafka_mem_free(NULL, requests)
