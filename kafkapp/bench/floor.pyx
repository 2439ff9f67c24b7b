# C side of every benchmark: loops over rd_kafka_produce() and rd_kafka_produce_batch() that run without the GIL.
# A module, not a program, so that it is built with the package and uses the same librdkafka.
# Knows no producer of kafkapp: they are compared with it.

cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from kafkapp._librdkafka.rdkafka cimport (
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
    """The version of the linked librdkafka, str."""
    return rd_kafka_version_str().decode()


@cython.final
cdef class Floor:
    """The producer of a C program: one thread sends, another drains the delivery reports.

    Args:
        properties: librdkafka's configuration, names and values.
        topic: the topic's name; of several topics the prefix: ``topic-0``, ``topic-1``...
        topics: the number of topics that the records go to, round robin.
        partitions: the number of partitions of each.
    Raises:
        ValueError: librdkafka refuses the configuration, with its text.
    Source: rd_kafka_new().
    """
    cdef kp_floor floor
    cdef bint is_open

    def __init__(self, properties, str topic not None, int topics=1, int partitions=1):
        if self.is_open:
            raise RuntimeError("Floor.__init__() was called already")
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
            raise RuntimeError("the Floor is closed, or its __init__() was not called")
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
        """The error text of the first record that failed, or None."""
        return rd_kafka_err2str(self.floor.first_error).decode() if self.floor.failed else None

    def send(self, bytes value not None, int64_t records, int batch=0, bint copy=False):
        """Send ``records`` records of the same value; blocks without the GIL while the queue is full.

        Args:
            value: the caller must keep it alive until all records are reported, unless it is copied.
            records: the number of records.
            batch: records in each rd_kafka_produce_batch(); 0: rd_kafka_produce() for each record.
            copy: let librdkafka copy the value.
        Raises:
            RuntimeError: librdkafka refused a record, other than for a full queue.
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
        """Block until so many records are reported. Returns False when the timeout (seconds) has expired."""
        self.check_open()
        cdef int is_late, timeout_ms = <int>(timeout * 1000)
        with nogil:
            is_late = kp_floor_wait(&self.floor, records, timeout_ms)
        return not is_late

    def round_trips(self, bytes value not None, int records):
        """Send one record after the other, each after the delivery report of the last. Blocks.

        Returns:
            The seconds of each, a list of float.
        Raises:
            RuntimeError: librdkafka refused a record, or a delivery report did not come within a minute.
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
        """Fail what is queued or in flight; the delivery reports follow.

        Source: rd_kafka_purge().
        """
        self.check_open()
        with nogil:
            kp_floor_purge(&self.floor)

    def end_offset(self, str topic not None, int partition=0, double timeout=10.0):
        """Ask the broker for the end offset of a partition, which no client can embellish. Blocks.

        Raises:
            RuntimeError: no answer before the timeout (seconds) expired.
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
            raise RuntimeError(f"Floor.end_offset(): no answer of the broker for {topic} [{partition}]")
        return offset

    def close(self):
        """Stop the thread and destroy the producer; outstanding records are lost. Blocks."""
        if self.is_open:
            self.is_open = False
            with nogil:
                kp_floor_close(&self.floor)
