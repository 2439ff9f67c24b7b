# C interface of kafkapp.testing.handles.

from kafkapp._librdkafka.rdkafka cimport rd_kafka_t, rd_kafka_type_t

# A client of librdkafka without logs. `settings`: names and values, as bytes.
cdef rd_kafka_t *new_handle(rd_kafka_type_t type, dict settings) except NULL
