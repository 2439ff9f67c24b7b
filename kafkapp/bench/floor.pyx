# The C side of every benchmark: loops over rd_kafka_produce() and rd_kafka_produce_batch() that run without the GIL.
# Layer L5. A module and not a program, so that it is built with the package and uses the same librdkafka.
# Knows nothing of kafkapp's producers: what they are compared with must not depend on them.

cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from kafkapp.librdkafka cimport (
    RD_KAFKA_CONF_OK,
    RD_KAFKA_MSG_F_COPY,
    rd_kafka_conf_destroy,
    rd_kafka_conf_new,
    rd_kafka_conf_set,
    rd_kafka_conf_t,
    rd_kafka_err2str,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_version_str,
)


cdef extern from "bench_floor.h" nogil:
    ctypedef struct kp_floor:
        rd_kafka_t *rk
        int64_t delivered
        int64_t failed
        rd_kafka_resp_err_t first_error

    int kp_floor_open(kp_floor *f, rd_kafka_conf_t *conf, const char *topic_prefix, int topic_cnt,
                      int partition_cnt, char *errstr, size_t errstr_size)
    rd_kafka_resp_err_t kp_floor_send(kp_floor *f, void *value, size_t size, int64_t n, int batch, int msgflags)
    int kp_floor_wait(kp_floor *f, int64_t n, int timeout_ms)
    rd_kafka_resp_err_t kp_floor_round_trips(kp_floor *f, void *value, size_t size, int n, double *seconds)
    void kp_floor_purge(kp_floor *f)
    int64_t kp_floor_end_offset(kp_floor *f, const char *topic, int partition, int timeout_ms)
    void kp_floor_close(kp_floor *f)


cdef int check(rd_kafka_resp_err_t err) except -1:
    if err:
        raise RuntimeError(rd_kafka_err2str(err).decode())
    return 0


def version():
    """The version of librdkafka that is linked, as text."""
    return rd_kafka_version_str().decode()


@cython.final
cdef class Floor:
    """A C program's producer: one thread sends, another drains the delivery reports.

    Args:
        properties: librdkafka's configuration, names and values.
        topic: the topic's name; with several topics the prefix of ``topic-0``, ``topic-1``...
        topics: how many topics the records go to in turn.
        partitions: how many partitions of each.
    Raises:
        ValueError: librdkafka refuses the configuration; its text is kept.
    Source: rd_kafka_new().
    """
    cdef kp_floor floor
    cdef bint is_open

    def __init__(self, properties, str topic not None, int topics=1, int partitions=1):
        if self.is_open:
            raise RuntimeError("it is open already")
        cdef char errstr[512]
        cdef rd_kafka_conf_t *conf = rd_kafka_conf_new()
        cdef bytes name, value
        for key, setting in properties.items():
            name, value = str(key).encode(), str(setting).encode()
            if rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK:
                rd_kafka_conf_destroy(conf)
                raise ValueError(errstr.decode())
        name = topic.encode()
        if kp_floor_open(&self.floor, conf, name, topics, partitions, errstr, sizeof(errstr)):
            raise ValueError(errstr.decode())
        self.is_open = True

    def __dealloc__(self):
        if self.is_open:
            kp_floor_close(&self.floor)

    cdef int check_open(self) except -1:
        if not self.is_open:
            raise RuntimeError("the Floor is closed, or was never open")
        return 0

    @property
    def delivered(self):
        """How many records were reported as delivered."""
        return self.floor.delivered

    @property
    def failed(self):
        """How many records were reported as failed."""
        return self.floor.failed

    @property
    def error(self):
        """The text of the first failed report, or None."""
        return rd_kafka_err2str(self.floor.first_error).decode() if self.floor.failed else None

    def send(self, bytes value not None, int64_t records, int batch=0, bint copy=False):
        """Send ``records`` records of the same value; blocks without the GIL while the queue is full.

        Args:
            value: must stay alive until all is reported, unless it is copied.
            records: how many.
            batch: records in one rd_kafka_produce_batch(); 0: rd_kafka_produce() for each.
            copy: let librdkafka copy the value.
        Raises:
            RuntimeError: librdkafka refused a record for another reason than a full queue.
        Source: rd_kafka_produce(), rd_kafka_produce_batch().
        """
        self.check_open()
        cdef char *data = value
        cdef size_t size = <size_t>len(value)
        cdef int flags = RD_KAFKA_MSG_F_COPY if copy else 0
        cdef rd_kafka_resp_err_t err
        with nogil:
            err = kp_floor_send(&self.floor, data, size, records, batch, flags)
        check(err)

    def wait(self, int64_t records, double timeout=60.0):
        """Wait until so many records have been reported; say whether they were."""
        self.check_open()
        cdef int late, timeout_ms = <int>(timeout * 1000)
        with nogil:
            late = kp_floor_wait(&self.floor, records, timeout_ms)
        return not late

    def round_trips(self, bytes value not None, int records):
        """Send one record after the other, each after the report of the one before.

        Returns:
            The seconds that each took.
        Raises:
            RuntimeError: librdkafka refused a record, or a report did not come within a minute.
        """
        self.check_open()
        cdef char *data = value
        cdef size_t size = <size_t>len(value)
        cdef rd_kafka_resp_err_t err
        cdef double *seconds = <double *>malloc(<size_t>records * sizeof(double))
        if seconds == NULL:
            raise MemoryError()
        try:
            with nogil:
                err = kp_floor_round_trips(&self.floor, data, size, records, seconds)
            check(err)
            return [seconds[i] for i in range(records)]
        finally:
            free(seconds)

    def purge(self):
        """Give up what is queued or in flight; the reports follow.

        Source: rd_kafka_purge().
        """
        self.check_open()
        with nogil:
            kp_floor_purge(&self.floor)

    def end_offset(self, str topic not None, int partition=0, double timeout=10.0):
        """Ask the broker for the end offset of a partition, the count that no client can embellish.

        Raises:
            RuntimeError: no answer within the time-out.
        Source: rd_kafka_query_watermark_offsets().
        """
        self.check_open()
        cdef bytes name = topic.encode()
        cdef const char *c_name = name
        cdef int timeout_ms = <int>(timeout * 1000)
        cdef int64_t offset
        with nogil:
            offset = kp_floor_end_offset(&self.floor, c_name, partition, timeout_ms)
        if offset < 0:
            raise RuntimeError(f"the broker does not tell the end offset of {topic} [{partition}]")
        return offset

    def close(self):
        """Stop the thread and destroy the producer; what is outstanding is dropped. Blocks."""
        if self.is_open:
            self.is_open = False
            with nogil:
                kp_floor_close(&self.floor)
