# Contract of kafkapp.requests with the producers above it. Layer L5.

from libc.stdint cimport int64_t

from kafkapp.client cimport Client
from kafkapp.librdkafka cimport rd_kafka_consumer_group_metadata_t, rd_kafka_topic_partition_list_t


cdef object fetch_metadata(Client client, str topic, int64_t deadline)
cdef object send_offsets(Client client, list offsets, str group_id, int64_t deadline)
