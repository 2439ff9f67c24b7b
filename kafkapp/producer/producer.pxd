# C interface of kafkapp.producer.producer.

from kafkapp.client.kafka_client cimport KafkaClient


cdef class Producer(KafkaClient):
    pass
