"""Service of a consumer's client: the commits that are outstanding, each with one outcome before close() returns.

Records have a queue of their own, which the thread that polls reads. librdkafka reports a commit by an event, which has
the commit's number; what it does not report in time is completed here, and its event, if one comes, finds no commit.
"""
from kafkapp.common.errors import KafkaException

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT32_MAX, INT64_MAX, int64_t

from kafkapp._librdkafka.consumer cimport (
    RD_KAFKA_CONSUMER,
    RD_KAFKA_EVENT_OFFSET_COMMIT,
    RD_KAFKA_RESP_ERR__DESTROY,
    rd_kafka_commit_queue,
    rd_kafka_conf_set_error_cb,
    rd_kafka_event_opaque,
    rd_kafka_event_topic_partition_list,
    rd_kafka_queue_cb_event_enable,
    rd_kafka_queue_get_consumer,
    rd_kafka_queue_new,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__INVALID_ARG,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_conf_t,
    rd_kafka_event_error,
    rd_kafka_event_t,
    rd_kafka_queue_destroy,
    rd_kafka_queue_t,
    rd_kafka_queue_yield,
    rd_kafka_resp_err_t,
    rd_kafka_t,
    rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_t,
)
from kafkapp.client.client cimport SIGNAL_CHECK_MS, Client
from kafkapp.client.dispatcher cimport kp_is_kept, kp_keep_what_comes, kp_rounds, kp_service, kp_service_ready
from kafkapp.common.atomics cimport KP_ADD, KP_READ, KP_SET
from kafkapp.common.callbacks cimport raise_all, report_all_unraisable, report_unraisable, run_callback
from kafkapp.common.errors cimport Error, new_error, new_exception
from kafkapp.common.forks cimport forks
from kafkapp.common.timeouts cimport expired, remaining_ms
from kafkapp.config.application cimport boolean, whole_number
from kafkapp.consumer.commits cimport commit as commit_and_wait, commit_error, new_commit_list
from kafkapp.consumer.consumed_columns cimport kp_client_error
from kafkapp.consumer.kept_messages cimport new_kept_messages
from kafkapp.consumer.rebalances cimport handle_rebalances

cdef enum:
    WARNING = 4             # of syslog's levels
    MAX_NAMED = 10          # partitions in a line

cdef str CLOSED_BEFORE = "the consumer was closed before a broker has answered: the offsets may be committed or not"


cdef void nothing(void *data) noexcept nogil:
    pass


cdef int64_t read_commit(void *data, rd_kafka_event_t *event) noexcept nogil:
    (<kp_dispatcher *>data).pending += 1
    return 1


cdef void collect_cancelled(void *data) noexcept nogil:
    (<kp_dispatcher *>data).pending += 1


cdef void wake(rd_kafka_t *rk, void *queue) noexcept nogil:
    """Called by a thread of librdkafka's when an event has come."""
    rd_kafka_queue_yield(<rd_kafka_queue_t *>queue)


cdef kp_service COMMITS
COMMITS.event = RD_KAFKA_EVENT_OFFSET_COMMIT
COMMITS.begin = COMMITS.end = nothing
COMMITS.read, COMMITS.collect = read_commit, collect_cancelled


@cython.final
cdef class PendingCommit:
    """A commit that was begun."""


@cython.final
cdef class ConsumerService(Service):
    def __cinit__(self):
        self.name, self.unit, self.type = "consumer", "offsets", RD_KAFKA_CONSUMER
        self.loss = "are not known to be committed"
        self.own = ("enable.auto.commit", "max.poll.records", "max.pinned.bytes")
        self.pending, self.cancelled, self.errors = {}, [], []

    cdef int configure(self, dict properties) except -1:
        self.auto_commit = boolean(properties, "enable.auto.commit", True)
        self.poll_records = whole_number(properties, "max.poll.records", 1, INT32_MAX)
        self.max_pinned = whole_number(properties, "max.pinned.bytes", 0, INT64_MAX)
        del properties["max.pinned.bytes"]
        del properties["max.poll.records"]              # for librdkafka it is of share consumers
        properties["enable.auto.commit"] = "false"      # of what librdkafka has taken from its queue
        if boolean(properties, "enable.auto.offset.store", False):
            raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, "enable.auto.offset.store=true would store offsets of "
                                "records that no poll has returned yet; leave it out")
        if properties.get("group.id") == "":
            raise new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, "group.id is empty: leave it out for a random one")
        return 0

    cdef int attach(self, kp_dispatcher *dispatcher) except -1:
        self.dispatcher = dispatcher
        dispatcher.service, dispatcher.service_data = &COMMITS, dispatcher
        return 0

    cdef int set_up(self, rd_kafka_conf_t *conf) except -1:
        rd_kafka_conf_set_error_cb(conf, kp_client_error)
        return handle_rebalances(conf)

    cdef int created(self, object client) except -1:
        client.properties["enable.auto.commit"] = "true" if self.auto_commit else "false"
        client.properties["max.poll.records"] = str(self.poll_records)
        client.properties["max.pinned.bytes"] = str(self.max_pinned)
        self.kept = new_kept_messages(client, self.max_pinned)
        self.handlers = (<Client>client).handlers
        if not client.background:
            self.wake_polls(client)
        return 0

    # -- commits ----------------------------------------------------------------------------------

    cdef int begin_commit(self, Client client, dict offsets, dict texts, object callback, bint logs) except -1:
        """Begin a commit; does not block. With no offsets it succeeds."""
        cdef PendingCommit commit = PendingCommit.__new__(PendingCommit)
        cdef rd_kafka_topic_partition_list_t *partitions
        cdef rd_kafka_resp_err_t err
        cdef int64_t number
        commit.offsets, commit.callback, commit.logs, commit.count = offsets, callback, logs, len(offsets)
        client.enter()
        try:
            partitions = new_commit_list(offsets, texts)
            try:
                with cython.critical_section(self):
                    self.last_number += 1
                    number = self.last_number
                KP_ADD(self.offsets, commit.count)
                KP_ADD(self.commits, 1)
                self.pending[number] = commit
                with nogil:
                    err = rd_kafka_commit_queue(client.rk, partitions, client.dispatcher.queue, NULL, <void *>number)
                if err and self.pending.pop(number, None) is not None:
                    self.end(commit)
                    raise KafkaException(commit_error(client.rk, err, NULL))
            finally:
                rd_kafka_topic_partition_list_destroy(partitions)
        finally:
            client.leave()
        return 0

    cdef int commit_in_order(self, Client client, str what, dict offsets, dict texts, int64_t deadline,
                             bint dispatches) except -1:
        """Commit, when the commits that were begun are answered. Blocks; answers signals. Their callbacks may run if it
        `dispatches`."""
        cdef list raised = []
        client.check_blocking(what)
        try:
            if not self.wait_begun(client, deadline, raised, dispatches):
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT, f"{what}() has waited in vain for commits before it "
                                    "to be answered; its own was not begun")
            commit_and_wait(client, what, offsets, texts, deadline)
        except:
            report_all_unraisable(raised)
            raise
        return raise_all(raised)

    cdef bint wait_begun(self, Client client, int64_t deadline, list raised, bint dispatches) except -1:
        """Wait until the commits that were begun are answered: librdkafka sends one again that a broker was not ready
        for, and it would undo a later one. False when the deadline has expired first. Without `dispatches` this thread
        may run no callback, and keeps the answers for one that may."""
        cdef int64_t seen, last = self.last_number
        cdef int ms
        if not self.pending:
            return True
        client.enter()
        try:
            while True:
                seen = kp_rounds(self.dispatcher)
                if self.is_answered(last):
                    return True
                if expired(deadline):
                    return False
                if dispatches:
                    client.wait(seen, deadline, raised)
                else:
                    ms = remaining_ms(deadline, SIGNAL_CHECK_MS)
                    with nogil:
                        kp_keep_what_comes(self.dispatcher, ms)
                    PyErr_CheckSignals()
                client.check_open()
        finally:
            client.leave()

    cdef bint is_answered(self, int64_t last) except -1:
        """Whether each commit up to this one is."""
        for number in list(self.pending):
            if number <= last and not kp_is_kept(self.dispatcher, <void *><int64_t>number):
                return False
        return True

    cdef int end(self, PendingCommit commit) noexcept:
        KP_ADD(self.offsets, -commit.count)
        KP_ADD(self.commits, -1)
        return 0

    cdef int finish(self, PendingCommit commit, object error, list raised) except -1:
        """Its outcome: its callback, or a line in the log."""
        try:
            lost = self.lost
            if error is None:
                self.said = None
                KP_SET(self.handlers.brokers_down, False)
            elif lost is not None:
                for place in commit.offsets:
                    lost[place.topic] = lost.get(place.topic, 0) + 1
            elif commit.logs:
                self.report(commit.offsets, error)
            if commit.callback is not None:
                run_callback(commit.callback, (commit.offsets, error), raised)
        finally:
            self.end(commit)
        return 0

    cdef int report(self, dict offsets, Error error) except -1:
        """Log a failure that nobody looks at: once, until a commit succeeds or one fails otherwise."""
        if self.said == error.value:
            return 0
        self.said = error.value
        named = ", ".join([f"{place.topic} [{place.partition}]" for place in list(offsets)[:MAX_NAMED]])
        try:
            self.handlers.say(WARNING, "COMMIT", f"offsets were not committed ({named}): {error}")
        except BaseException as exc:
            report_unraisable(exc)
        return 0

    cdef int complete(self, list raised) except -1:
        cdef size_t i
        cdef PendingCommit commit
        cdef rd_kafka_event_t *event
        cdef int before = forks()
        for i in range(self.dispatcher.event_count):
            event = self.dispatcher.events[i]
            commit = self.pending.pop(<int64_t>rd_kafka_event_opaque(event), None)
            if commit is None:
                continue
            try:
                self.finish(commit, commit_error(self.dispatcher.rk, rd_kafka_event_error(event),
                                                 rd_kafka_event_topic_partition_list(event)), raised)
            except BaseException as exc:    # no memory: the others have their outcomes all the same
                report_unraisable(exc)
            if forks() != before:
                return 0
        self.complete_cancelled(raised)
        return self.complete_errors()

    cdef int complete_cancelled(self, list raised) except -1:
        cdef PendingCommit commit
        cdef int before = forks()
        while self.cancelled and forks() == before:
            commit = self.cancelled.pop(0)
            self.finish(commit, new_error(RD_KAFKA_RESP_ERR__DESTROY, CLOSED_BEFORE), raised)
        return 0

    cdef int complete_unreported(self, list topics, list holds, list raised) except -1:
        self.take_pending()
        return self.complete_cancelled(raised)

    cdef int take_pending(self) except -1:
        for number in list(self.pending):
            commit = self.pending.pop(number, None)
            if commit is not None:
                self.cancelled.append(commit)
        return 0

    # -- errors that polls find -------------------------------------------------------------------

    cdef int report_error(self, Error error) except -1:
        """Have it reported as those that come as events are: by the thread that dispatches."""
        self.errors.append(error)
        kp_service_ready(self.dispatcher)
        return 0

    cdef int complete_errors(self) except -1:
        cdef int before = forks()
        while self.errors and forks() == before:
            self.handlers.report(self.errors.pop(0))
        return 0

    # -- polls that dispatch ----------------------------------------------------------------------

    cdef int wake_polls(self, Client client) except -1:
        """Have events end the wait of a poll, which dispatches them."""
        self.polled = rd_kafka_queue_get_consumer(client.rk)
        rd_kafka_queue_cb_event_enable(self.dispatcher.queue, wake, self.polled)
        return 0

    cdef int part_records(self, Client client) except -1:
        """From here on the records of what is assigned come in a queue of their own: no rebalance waits behind them."""
        if self.records is NULL:
            self.records = rd_kafka_queue_new(client.rk)
        return 0

    cdef int detach(self) noexcept:
        if self.records is not NULL:
            with nogil:
                rd_kafka_queue_destroy(self.records)    # and what is in it
            self.records = NULL
        if self.polled is not NULL:
            with nogil:
                rd_kafka_queue_cb_event_enable(self.dispatcher.queue, NULL, NULL)
                rd_kafka_queue_destroy(self.polled)
            self.polled = NULL
        return 0

    # -- the end ----------------------------------------------------------------------------------

    cdef int64_t outstanding(self) noexcept:
        return KP_READ(self.commits)

    cdef int64_t count(self) noexcept:
        return KP_READ(self.offsets)

    cdef bint drain(self, object client, int64_t deadline, list raised) except -1:
        cdef int64_t seen = kp_rounds(self.dispatcher)
        if KP_READ(self.commits):
            (<Client>client).wait(seen, deadline, raised)
        return not KP_READ(self.commits)

    cdef int cancel(self, rd_kafka_t *rk) except -1:
        """librdkafka takes no commit back: the next round completes what is outstanding."""
        self.take_pending()
        kp_service_ready(self.dispatcher)
        return 0

    cdef bint held(self) noexcept:
        return self.kept is not None and self.kept.bytes() > 0

    cdef int count_losses(self) noexcept:
        if self.lost is None:
            self.lost = {}
        return 0

    cdef bint end_losses(self) noexcept:
        cdef bint counted = self.lost is not None
        self.lost = None
        return counted

    cdef dict losses(self):
        return dict(self.lost or {})
