"""Instruction budgets of reading: what a record costs until it is in columns, and then to look at, counted by callgrind.

All is fetched before it is taken. A change that moves a figure beyond its budget either mends that or changes the budget
here, and says why in its commit.
"""
import callgrind
import pytest

from kafkapp import KafkaAsyncProducer
from kafkapp.bench.broker import mock_cluster

# Instructions a record on x86_64, CPython 3.11, gcc 12, values of 100 bytes, no keys. `taking`: of kp_consume(), with librdkafka's, where the
# loop of C that takes 1000 a call and destroys them costs 627: what either costs beyond that depends on librdkafka. `walking` and
# `value`: of kafkapp's own modules alone, to make the record, and to make it and its value. Measured: 794, 35 and 133.
C_LOOP = 627
BUDGET = {"taking": 800, "walking": 40, "value": 145}
RECORDS, BATCH = 30_000, 10_000

# arrived() begins the next part of what callgrind counts.
PARTS = "start", "taking", "walking", "value", "waiting", "c loop"
PROGRAM = """
import sys, time
from kafkapp import KafkaConsumer
from kafkapp.bench.consumer_floor import ConsumerFloor, arrived

def wait_until_idle():
    used, now = -1, 0
    while now - used > 0.01:
        used = now
        time.sleep(0.3)
        now = time.process_time()

def main(servers, records, size):
    properties = {"bootstrap.servers": servers, "group.id": "g", "enable.auto.commit": "false",
                  "queued.min.messages": 10_000_000, "queued.max.messages.kbytes": 2_000_000}
    consumer = KafkaConsumer(properties)
    consumer.assign({("t", 0): 0})
    def take():
        return consumer.poll_batch(30, max_records=size)
    assert len(consumer.poll_batch(30, max_records=1)) == 1
    wait_until_idle()
    assert len(take()) == size
    arrived()
    batches = [take() for _ in range(records // size - 1)]
    arrived()
    for batch in batches:
        for record in batch:
            pass
    arrived()
    for batch in batches:
        for record in batch:
            record.value
    arrived()
    floor = ConsumerFloor(properties, [("t", 0)])
    assert floor.take(1)[0] == 1
    wait_until_idle()
    arrived()
    assert floor.take(records - size)[0] == records - size == sum(map(len, batches))

main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """The files of callgrind's counts, by the name of the part."""
    callgrind.need_valgrind()
    out = tmp_path_factory.mktemp("callgrind") / "out"
    with mock_cluster() as servers:
        with KafkaAsyncProducer({"bootstrap.servers": servers, "linger.ms": 50}) as producer:
            assert not producer.send_batch("t", [b"x" * 100] * (RECORDS + 1), partition=0).failures()
        callgrind.run(PROGRAM, (servers, RECORDS, BATCH), out, "--dump-before=kp_bench_arrived")
    files = sorted(out.parent.glob("out.*"), key=lambda file: int(file.suffix[1:])) + [out]
    return dict(zip(PARTS, files, strict=True))


def cost_of(counts, how):
    """Instructions of a record."""
    if how in ("taking", "c loop"):     # of one function and all that it calls
        name = {"taking": "kp_consume", "c loop": "kp_bench_take"}[how]
        rows = [count for count, function, _ in callgrind.rows(counts[how], "--inclusive=yes") if function.endswith(":" + name)]
    else:
        rows = [count for count, *_ in callgrind.rows(counts[how])]
    assert rows
    return sum(rows) / (RECORDS - BATCH)


@callgrind.on_x86_64
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", BUDGET)
def test_a_record_that_is_read_stays_within_its_budget(counts, how):
    cost, budget = cost_of(counts, how), BUDGET[how]
    if how == "taking":
        c_loop = cost_of(counts, "c loop")
        print(f"C's loop: {c_loop:.0f} instructions a record")
        budget += c_loop - C_LOOP
    print(f"{how}: {cost:.0f} instructions a record")
    assert budget / 2 < cost < budget
