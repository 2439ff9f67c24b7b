# C side of the benchmarks of reading: a loop over rd_kafka_consume_batch_queue() that runs without the GIL.
# A module, not a program, so that it is built with the package and uses the same librdkafka.
# Knows no consumer of kafkapp, which is compared with it, but for the client whose queue is watched.

cimport cython
from libc.stdint cimport int64_t

from kafkapp._librdkafka.consumer cimport RD_KAFKA_CONSUMER, rd_kafka_assign
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_CONF_OK,
    rd_kafka_conf_destroy,
    rd_kafka_conf_new,
    rd_kafka_conf_set,
    rd_kafka_conf_t,
    rd_kafka_destroy,
    rd_kafka_err2str,
    rd_kafka_new,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_partition_list_add,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_new,
    rd_kafka_topic_partition_list_t,
)
from kafkapp.consumer.polling cimport PollingConsumer


cdef extern from "bench_consumer.h" nogil:
    rd_kafka_resp_err_t rd_kafka_poll_set_consumer(rd_kafka_t *rk)
    rd_kafka_resp_err_t rd_kafka_consumer_close(rd_kafka_t *rk)
    void kp_bench_watch(rd_kafka_t *rk)
    int64_t kp_bench_arrived()
    int64_t kp_bench_take(rd_kafka_t *rk, int64_t records, int timeout_ms, int64_t *bytes)


@cython.final
cdef class ConsumerFloor:
    """The consumer of a C program.

    Args:
        properties: librdkafka's configuration, names and values.
        partitions: (topic, partition) tuples, each of which is read from its beginning.
    Raises:
        ValueError: librdkafka refuses the configuration, with its text.
    Source: rd_kafka_new(), rd_kafka_assign().
    """
    cdef rd_kafka_t *rk

    def __init__(self, properties, partitions):
        if self.rk is not NULL:
            raise RuntimeError("ConsumerFloor.__init__() was called already")
        cdef char errstr[512]
        cdef rd_kafka_conf_t *conf = rd_kafka_conf_new()
        cdef rd_kafka_topic_partition_list_t *made = rd_kafka_topic_partition_list_new(1)
        cdef rd_kafka_resp_err_t err
        cdef bytes name, value
        try:
            for key, setting in properties.items():
                name, value = str(key).encode(), str(setting).encode()
                if rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK:
                    raise ValueError(errstr.decode())
            for topic, partition in partitions:
                name = topic.encode()
                rd_kafka_topic_partition_list_add(made, name, partition).offset = 0
            self.rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, errstr, sizeof(errstr))
            if self.rk is NULL:
                raise ValueError(errstr.decode())
            conf = NULL
            rd_kafka_poll_set_consumer(self.rk)
            err = rd_kafka_assign(self.rk, made)
            if err:
                raise RuntimeError(rd_kafka_err2str(err).decode())
        finally:
            if conf is not NULL:
                rd_kafka_conf_destroy(conf)
            rd_kafka_topic_partition_list_destroy(made)

    def __dealloc__(self):
        if self.rk is not NULL:
            rd_kafka_destroy(self.rk)

    def take(self, int64_t records, double timeout=30.0):
        """Take so many records, 1000 a call, and destroy them. Blocks without the GIL.

        Returns:
            How many came, each within `timeout` seconds of the last, and how many bytes their values had.
        """
        cdef int64_t taken, size = 0
        cdef int timeout_ms = <int>(timeout * 1000)
        if self.rk is NULL:
            raise RuntimeError("the ConsumerFloor is closed, or its __init__() was not called")
        with nogil:
            taken = kp_bench_take(self.rk, records, timeout_ms, &size)
        return taken, size

    def watch(self):
        """As watch(), of itself."""
        if self.rk is NULL:
            raise RuntimeError("the ConsumerFloor is closed, or its __init__() was not called")
        kp_bench_watch(self.rk)

    def close(self):
        """Destroy the consumer. Blocks."""
        cdef rd_kafka_t *rk = self.rk
        self.rk = NULL
        if rk is not NULL:
            with nogil:
                rd_kafka_consumer_close(rk)
                rd_kafka_destroy(rk)


def watch(PollingConsumer consumer not None):
    """Have the moments kept at which this consumer's queue stops being empty. One consumer a process.

    Source: rd_kafka_queue_cb_event_enable().
    """
    consumer.get_client().enter()
    try:
        kp_bench_watch(consumer.get_client().rk)
    finally:
        consumer.get_client().leave()


def arrived():
    """The last of those moments, in nanoseconds of CLOCK_MONOTONIC; 0: there was none since the last call."""
    return kp_bench_arrived()
