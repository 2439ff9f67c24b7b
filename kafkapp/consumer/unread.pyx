"""What a poll has returned and its user has not seen yet: positions before that, and reading it again."""
from kafkapp.consumer.topic_partition import TopicPartition

from kafkapp._librdkafka.consumer cimport (
    rd_kafka_consume_batch_queue,
    rd_kafka_queue_get_consumer,
    rd_kafka_topic_partition_list_find,
)
from kafkapp._librdkafka.rdkafka cimport (
    rd_kafka_queue_destroy,
    rd_kafka_queue_t,
    rd_kafka_topic_partition_list_add,
    rd_kafka_topic_partition_list_new,
    rd_kafka_topic_partition_list_t,
)
from kafkapp.consumer.consumed_columns cimport ConsumedBlock, kp_consumed
from kafkapp.consumer.record_queue cimport RecordQueue


cdef size_t run_begin(kp_consumed *columns, size_t i, size_t row) noexcept nogil:
    """Where the run of records of one partition begins that ends with record `i`; not before `row`."""
    while i > row and (columns.partitions[i - 1] == columns.partitions[i] and
                       columns.topics[i - 1] == columns.topics[i]):
        i -= 1
    return i


cdef list runs_of(ConsumedBlock block, size_t row, set without):
    cdef kp_consumed *columns = block.columns
    cdef size_t end = columns.count
    cdef size_t i = end
    cdef list runs = []
    while i > row:
        i = run_begin(columns, i - 1, row)
        if place_of(block, i) in without:
            end = i
        elif runs and runs[-1][0] == end:
            runs[-1][0] = end = i
        else:
            runs.append([i, end])
            end = i
    return runs


cdef object place_of(ConsumedBlock block, size_t row):
    return TopicPartition(block.topics()[block.columns.topics[row]], block.columns.partitions[row])


cdef dict first_offsets(ConsumedBlock block, size_t row):
    """The offset of the first record of each partition from `row` on."""
    cdef kp_consumed *columns = block.columns
    cdef size_t i = columns.count
    cdef dict found = {}
    while i > row:
        i = run_begin(columns, i - 1, row)
        found[place_of(block, i)] = columns.offsets[i]
    return found


cdef int set_positions(RecordQueue queue, ConsumedBlock block, size_t row, set without) except -1:
    cdef dict firsts = first_offsets(block, row)
    for place, end in block.places(&block.columns.ends).items():
        if place in queue.positions and place not in without:
            queue.positions[place] = firsts.get(place, end)
    return 0


cdef int give_back(RecordQueue queue, ConsumedBlock block, size_t row, set without, set places) except -1:
    cdef bytes name
    cdef dict firsts
    cdef rd_kafka_topic_partition_list_t **refused = queue.refused_now()
    set_positions(queue, block, row, without)
    if queue.auto is not None:
        queue.auto.take_back(queue.positions)
    firsts = first_offsets(block, row)
    for place in set(firsts).difference(without):
        if places is not None and place not in places:
            continue
        name = place.topic.encode()
        if refused[0] is NULL:
            refused[0] = rd_kafka_topic_partition_list_new(1)
        if rd_kafka_topic_partition_list_find(refused[0], name, place.partition) is NULL:
            rd_kafka_topic_partition_list_add(refused[0], name, place.partition).offset = firsts[place]
    return 0


cdef int touch(RecordQueue queue) except -1:
    cdef rd_kafka_queue_t *polled
    if not queue.client.enter_unless_closed():
        return 0
    try:
        with nogil:
            polled = rd_kafka_queue_get_consumer(queue.client.rk)
            rd_kafka_consume_batch_queue(polled, 0, NULL, 0)
            rd_kafka_queue_destroy(polled)
    finally:
        queue.client.leave()
    return 0
