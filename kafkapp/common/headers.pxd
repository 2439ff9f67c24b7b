# Headers: checks them, and converts them for librdkafka.

from kafkapp._librdkafka.rdkafka cimport rd_kafka_headers_t


# A new list of the given headers, checked; None for None.
cdef list new_header_list(object headers)

# Headers as librdkafka takes them, checked, owned by the caller until the record is enqueued; NULL: there are none.
cdef rd_kafka_headers_t *new_headers(object headers) except? NULL
