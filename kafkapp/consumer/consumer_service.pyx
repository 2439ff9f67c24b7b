"""Service of a consumer's client. The dispatcher serves logs, errors, statistics and tokens; records have a queue of
their own, which the thread that polls reads: nothing is outstanding that close() would have to wait for."""
cimport cython

from kafkapp._librdkafka.consumer cimport RD_KAFKA_CONSUMER
from kafkapp._librdkafka.rdkafka cimport RD_KAFKA_RESP_ERR__INVALID_ARG
from kafkapp.common.errors cimport new_exception
from kafkapp.config.application cimport boolean


@cython.final
cdef class ConsumerService(Service):
    def __cinit__(self):
        self.name, self.unit, self.loss, self.type = "consumer", "records", "were not read", RD_KAFKA_CONSUMER

    cdef int configure(self, dict properties) except -1:
        if boolean(properties, "enable.auto.commit", False):
            raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, "enable.auto.commit=true: this consumer does not "
                                "commit by itself yet; leave it out, and call commit_sync()")
        if boolean(properties, "enable.auto.offset.store", False):
            raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, "enable.auto.offset.store=true would store offsets of "
                                "records that no poll has returned yet; leave it out")
        if properties.get("group.id") == "":
            raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, "group.id is empty: leave it out for a random one")
        return 0
