"""Rebalances: how partitions come to a consumer and go: by assign(), or by its group, in rebalances.

librdkafka has a rebalance handled in the thread that polls, while that takes records, without the GIL. Partitions are
assigned before the user's `on_rebalance`, and taken away after it, in each protocol: so a seek in the one case and a
commit in the other work. What it raises is raised by the poll, when the rebalance is complete.
"""
from kafkapp.consumer.groups import RebalanceEvent, is_matched
from kafkapp.consumer.topic_partition import TopicPartition

from cpython.exc cimport PyErr_CheckSignals
from posix.unistd cimport usleep

from kafkapp._librdkafka.consumer cimport (
    RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS,
    RD_KAFKA_RESP_ERR__FAIL,
    RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS,
    rd_kafka_assign,
    rd_kafka_assignment_lost,
    rd_kafka_pause_partitions,
    rd_kafka_resume_partitions,
    rd_kafka_subscribe,
    rd_kafka_topic_partition_list_fields,
    rd_kafka_unsubscribe,
)
from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_OFFSET_INVALID,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR__STATE,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    rd_kafka_err2str,
    rd_kafka_queue_t,
    rd_kafka_topic_partition_list_destroy,
)
from kafkapp.client.client cimport SIGNAL_CHECK_MS, Client, PyThread_get_thread_ident
from kafkapp.client.handle cimport OPEN
from kafkapp.common.atomics cimport KP_READ, KP_SET, KP_TAKE_FLAG
from kafkapp.common.callbacks cimport report_unraisable, run_callback
from kafkapp.common.errors cimport new_exception
from kafkapp.common.timeouts cimport expired, now_ms, remaining_ms
from kafkapp.consumer.group_metadata cimport generation_of
from kafkapp.consumer.partition_calls cimport (
    add_partitions,
    await_answer,
    is_cooperative,
    new_partition_list,
    remove_partitions,
)
from kafkapp.consumer.subscription cimport BY_GROUP, BY_HAND, NOTHING, Subscription

cdef enum:
    POLL_END_MS = 5000          # that close() waits for a poll in another thread, which a callback may hold up
    POLL_END_CHECK_US = 5000
    ANSWER_MS = 1000            # from a group's answer until the rebalance: librdkafka looks the topics up


# -- assign() --------------------------------------------------------------------------------------

cdef int pause_again(rd_kafka_t *rk, object places, bint paused) except -1:
    """Pause partitions, or resume them. One that is no longer assigned does not matter."""
    cdef rd_kafka_topic_partition_list_t *made
    if places:
        made = new_partition_list(dict.fromkeys(places, RD_KAFKA_OFFSET_INVALID))
        with nogil:
            if paused:
                rd_kafka_pause_partitions(rk, made)
            else:
                rd_kafka_resume_partitions(rk, made)
            rd_kafka_topic_partition_list_destroy(made)
    return 0


cdef int replace_assignment(RecordQueue queue, dict starts) except -1:
    """assign(): these partitions in place of those before; none is paused."""
    cdef Client client = queue.client
    cdef Subscription subscription = queue.subscription
    cdef rd_kafka_topic_partition_list_t *made
    cdef rd_kafka_queue_t *records
    cdef rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR
    if subscription.mode == BY_GROUP:
        raise new_exception(RD_KAFKA_RESP_ERR__FAIL, "assign(): the consumer is subscribed, and its group assigns "
                            "partitions; call unsubscribe() first")
    queue.wait_placed(-1, False)
    pause_again(client.rk, queue.paused, False)
    records = queue.records()
    made = new_partition_list(starts)
    try:
        if is_cooperative(client.rk):   # it was subscribed once, and librdkafka takes no whole assignment
            err = remove_partitions(client.rk, queue.positions)
        with nogil:
            if not err:
                err = add_partitions(client.rk, made, records)
                # Two answers: it has stopped then what was assigned before. To remove that again earlier ends the
                # process.
                await_answer(client.rk)
                await_answer(client.rk)
    finally:
        rd_kafka_topic_partition_list_destroy(made)
    if err:
        raise new_exception(err, f"assign() failed: {rd_kafka_err2str(err).decode()}")
    subscription.mode = BY_HAND if starts else NOTHING
    queue.remove(list(queue.positions))
    return queue.go_on_from(starts)


# -- rebalances -------------------------------------------------------------------------------------

cdef int handle_rebalances(rd_kafka_conf_t *conf) noexcept:
    kp_set_rebalance_handler(conf, rebalance)
    return 0


cdef void rebalance(void *consumer, rd_kafka_t *rk, rd_kafka_resp_err_t err,
                    rd_kafka_topic_partition_list_t *partitions) noexcept with gil:
    cdef RecordQueue queue = <RecordQueue>consumer
    KP_SET(queue.rebalancing, PyThread_get_thread_ident())
    try:
        if err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
            assigned(queue, rk, partitions)
        elif err == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
            revoked(queue, rk, partitions)
        else:
            raise new_exception(err, f"the rebalance failed: {rd_kafka_err2str(err).decode()}")
    except BaseException as exc:
        if queue.client.foreign():
            return          # in the child of a callback that forked: librdkafka has no thread here that would answer
        with nogil:
            rd_kafka_assign(rk, NULL)       # else the group waits for this member
        try:
            pause_again(rk, queue.paused, False)
            give_away(queue, list(queue.positions))
            queue.raised.append(exc)
        except MemoryError:
            report_unraisable(exc)
    finally:
        if err == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
            queue.discard()
        KP_SET(queue.rebalancing, 0)


cdef list places_of(rd_kafka_topic_partition_list_t *partitions):
    cdef rd_kafka_topic_partition_list_fields *fields = <rd_kafka_topic_partition_list_fields *>partitions
    cdef int i
    return [TopicPartition(fields.elems[i].topic.decode("utf-8", "replace"), fields.elems[i].partition)
            for i in range(fields.cnt)]


cdef int assigned(RecordQueue queue, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions) except -1:
    cdef Subscription subscription = queue.subscription
    cdef rd_kafka_resp_err_t err
    cdef list places = places_of(partitions)
    cdef set again = subscription.paused.intersection(places)
    cdef rd_kafka_topic_partition_list_t *none
    cdef rd_kafka_queue_t *records = queue.records()
    if subscription.mode != BY_GROUP:       # it came while unsubscribe() was called, which waits for an answer
        none = new_partition_list({})
        with nogil:
            add_partitions(rk, none, NULL)
            await_answer(rk)        # then the revocation is in the queue
            rd_kafka_topic_partition_list_destroy(none)
        return 0
    with nogil:
        err = add_partitions(rk, partitions, records)
    if err:
        raise new_exception(err, f"partitions could not be assigned: {rd_kafka_err2str(err).decode()}")
    pause_again(rk, again, True)
    queue.forget(places)        # of an assignment before
    queue.add(places)
    queue.paused = queue.paused.union(again)
    subscription.paused = set()
    subscription.assignments += 1
    tell(queue, RebalanceEvent.Assigned, places)
    return 0


cdef int revoked(RecordQueue queue, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions) except -1:
    cdef Subscription subscription = queue.subscription
    cdef bint lost, cooperative
    cdef rd_kafka_resp_err_t err
    cdef list places
    with nogil:
        lost = rd_kafka_assignment_lost(rk)
        cooperative = is_cooperative(rk)
    if subscription.mode == BY_HAND and not cooperative:
        raise new_exception(RD_KAFKA_RESP_ERR__STATE, "the group that unsubscribe() has left took away what assign() "
                            "has assigned since: call assign() again")
    places = ([] if subscription.mode == BY_HAND
              else [place for place in places_of(partitions) if place in queue.positions])
    if places:
        try:
            tell_of_loss(queue, lost, places, True)
        except BaseException as exc:    # a signal: they are revoked all the same
            queue.raised.append(exc)
        if queue.client.foreign():
            return 0
    paused = queue.paused.intersection(places)
    pause_again(rk, paused, False)      # librdkafka remembers it forever
    err = remove_partitions(rk, places)
    if err:
        raise new_exception(err, f"partitions could not be revoked: {rd_kafka_err2str(err).decode()}")
    give_away(queue, places)
    subscription.revocations += 1
    subscription.paused = set() if lost else paused
    return 0


cdef int give_away(RecordQueue queue, list places) except -1:
    """These are another member's from now on. What is not committed of them, as a signal has ended that, never is."""
    queue.forget_lost(places)
    return queue.remove(places)


cdef int tell_of_loss(RecordQueue queue, bint lost, list places, bint commits) except -1:
    """These are about to be revoked, or belong to another member already."""
    if lost:
        queue.forget_lost(places)
        return tell(queue, RebalanceEvent.Lost, places)
    tell(queue, RebalanceEvent.Revoked, places)
    return queue.commit_revoked(places) if commits else 0


cdef int tell(RecordQueue queue, object event, list places) except -1:
    if queue.subscription.on_rebalance is not None:
        run_callback(queue.subscription.on_rebalance, (event, places), queue.raised)
    return 0


# -- subscribing ------------------------------------------------------------------------------------

cdef int subscribe(RecordQueue queue, list topics, object on_rebalance, int64_t deadline, bint waits) except -1:
    """Subscribe; wait for the first assignment if it `waits`."""
    cdef Client client = queue.client
    cdef Subscription subscription = queue.subscription
    cdef frozenset wanted = frozenset(topics)
    cdef rd_kafka_topic_partition_list_t *made
    cdef rd_kafka_resp_err_t err
    cdef tuple before
    if not queue.begin("subscribe", deadline):
        raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                            "subscribe() has waited in vain for another thread's call to end")
    try:
        if subscription.mode == BY_HAND:
            raise new_exception(RD_KAFKA_RESP_ERR__FAIL, "subscribe(): partitions were assigned by assign(); call "
                                "unsubscribe() first")
        before = rebalances_of(queue)
        if subscription.mode != BY_GROUP or subscription.topics != wanted:
            made = new_partition_list({(topic, -1): RD_KAFKA_OFFSET_INVALID for topic in topics})
            with nogil:
                err = rd_kafka_subscribe(client.rk, made)
                rd_kafka_topic_partition_list_destroy(made)
            if err:
                raise new_exception(err, f"subscribe() failed: {rd_kafka_err2str(err).decode()}; a topic that begins "
                                    "with ^ must be a regular expression")
            subscription.mode, subscription.topics = BY_GROUP, wanted
        elif queue.positions:
            waits = False
        subscription.on_rebalance = on_rebalance
        if waits:
            wait_for_assignment(queue, before, deadline, True)
    finally:
        queue.end()
    return 0


cdef tuple rebalances_of(RecordQueue queue):
    """How many assignments and revocations there were, whether something is assigned, and the member's generation where
    a group may take in a subscription without a rebalance: KIP-848."""
    return (queue.subscription.assignments, queue.subscription.revocations, bool(queue.positions),
            generation_of(queue.client) if by_broker(queue) else 0)


cdef bint by_broker(RecordQueue queue) except -1:
    """Whether brokers assign partitions: KIP-848."""
    return queue.client.properties.get("group.protocol") == "consumer"


cdef bint is_assigned(RecordQueue queue, tuple before, bint answered) except -1:
    """Whether the group has assigned what there is for this subscription, since rebalances_of() was `before`. What is
    of the subscription before may be assigned until then, or be taken away first; or that is all that happens.
    `answered`: the group has taken it in, and no rebalance follows at once."""
    cdef Subscription subscription = queue.subscription
    cdef bint some_each, cooperative
    assignments, revocations, assigned, _ = before
    if not queue.positions:
        return not assigned and subscription.assignments != assignments
    topics = {place.topic for place in queue.positions}
    patterns = [topic for topic in subscription.topics if topic.startswith("^")]
    if not all([topic in subscription.topics or is_matched(topic, patterns, by_broker(queue)) for topic in topics]):
        return False
    if answered or subscription.assignments != assignments or subscription.revocations != revocations:
        return True
    # Where there is something of each, there may be no rebalance, unless each of them takes everything away first.
    some_each = topics.issuperset(subscription.topics.difference(patterns))
    with nogil:
        cooperative = is_cooperative(queue.client.rk)
    return some_each and cooperative


cdef int wait_for_assignment(RecordQueue queue, tuple before, int64_t deadline, bint forgets) except -1:
    """`forgets`: what was reported meanwhile is in the error for an expired deadline only; else polls raise it too."""
    cdef int64_t answered = 0       # when a rebalance for the answer would have come
    while not (is_assigned(queue, before, answered and expired(answered)) or queue.raised):
        if expired(deadline):
            cause = queue.failures[-1][1] if queue.failures else None
            if forgets:
                queue.failures = []
            raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT, "subscribe(): the group has assigned nothing in time; "
                                "the subscription stands, and polls go on with it") from cause
        queue.serve(remaining_ms(deadline, SIGNAL_CHECK_MS))
        if not answered and before[3] > 0 and generation_of(queue.client) > before[3]:
            answered = now_ms() + ANSWER_MS
    queue.raise_what_callbacks_raised()
    return 0


cdef int unsubscribe(RecordQueue queue, int64_t deadline) except -1:
    """End a subscription, or what was assigned by hand; serves the rebalance that ends it."""
    cdef Client client = queue.client
    cdef Subscription subscription = queue.subscription
    cdef rd_kafka_resp_err_t err
    cdef bint served = True
    if not queue.begin("unsubscribe", deadline):
        raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT,
                            "unsubscribe() has waited in vain for another thread's call to end")
    try:
        if subscription.mode == BY_HAND:
            replace_assignment(queue, {})
        if subscription.mode == BY_GROUP:
            with nogil:
                err = rd_kafka_unsubscribe(client.rk)
            if err:
                raise new_exception(err, f"unsubscribe() failed: {rd_kafka_err2str(err).decode()}")
            subscription.mode, subscription.topics = NOTHING, frozenset()
        while queue.positions or served:        # `served`: an assignment may be in the queue that was not served yet
            if expired(deadline) and queue.positions:
                raise new_exception(RD_KAFKA_RESP_ERR__TIMED_OUT, "unsubscribe(): the partitions could not be "
                                    "revoked in time; call it again")
            served = queue.serve(remaining_ms(deadline, SIGNAL_CHECK_MS) if queue.positions else 0)
        subscription.on_rebalance, subscription.paused = None, set()
        queue.failures = []
        queue.raise_what_callbacks_raised()
    finally:
        queue.end()
    return 0


# -- closing ----------------------------------------------------------------------------------------

cdef int give_up_all(RecordQueue queue, int64_t deadline, bint commits, list raised) except -1:
    """close() begins: on_rebalance is called as if all partitions were revoked. librdkafka leaves the group when it is
    destroyed, in a thread that runs no callback."""
    cdef Client client = queue.client
    cdef Subscription subscription = queue.subscription
    cdef bint lost
    cdef list places
    queue.check_rebalancing("close")
    if subscription.mode != BY_GROUP or client.foreign() or client.in_callback() or KP_READ(client.state) != OPEN:
        return 0
    if not stop_polls(queue, deadline):
        return 0
    try:
        places = list(queue.positions)
        if not places or KP_READ(client.state) != OPEN:
            return 0
        client.enter()
        KP_SET(queue.rebalancing, PyThread_get_thread_ident())
        try:
            with nogil:
                lost = rd_kafka_assignment_lost(client.rk)
            tell_of_loss(queue, lost, places, commits)
            raised.extend(queue.raised)
            subscription.mode = NOTHING     # an interrupted close() may be called again
        finally:
            KP_SET(queue.rebalancing, 0)
            client.leave()
    finally:
        KP_SET(queue.leaving, False)        # an interrupted close() leaves a consumer that can poll
        KP_SET(queue.idle, True)
    return 0


cdef bint stop_polls(RecordQueue queue, int64_t deadline) except -1:
    """Have no other thread poll any more: takes `idle`. False when one goes on, in a callback."""
    cdef int64_t until = now_ms() + POLL_END_MS
    if queue.turn.is_mine():
        return False        # in a signal handler of this thread's own poll
    KP_SET(queue.leaving, True)
    try:
        queue.wake()
        while not KP_TAKE_FLAG(queue.idle):
            if expired(until) or expired(deadline) or KP_READ(queue.client.state) != OPEN:
                return False
            with nogil:
                usleep(POLL_END_CHECK_US)
            PyErr_CheckSignals()
    except:
        KP_SET(queue.leaving, False)
        raise
    return True
