"""kafkapp.aio.KafkaConsumer: records and batches as they come, in order, none lost by whatever ends a wait or a loop."""
import asyncio
import errno
import os
import threading
from datetime import UTC, datetime

import pytest
from aio_consumers import SECONDS, new_consumer, records, until_waiting
from consumers import fields, plain
from helpers import NOWHERE, properties, run_in_loop
from readback import read_messages

from kafkapp import ErrorCode, KafkaException, KafkaSyncProducer, Timestamp
from kafkapp.aio import KafkaConsumer

QUIET = {"log_level": 0, "error_cb": lambda error: None}


def write(cluster, topic, count, partition=0, **named):
    """Records whose values are their numbers."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"%d" % number for number in range(count)], partition=partition, **named)


def numbers(batch):
    return [int(plain(record.value)) for record in batch]


def test_it_reads_what_another_client_reads(broker, topic):
    for partition in range(4):
        write(broker, topic, 700, partition, keys=[b"key"] * 700, headers=[("h", b"1"), ("h", None)])
    theirs = sorted(map(fields, read_messages(broker.bootstrap_servers, topic, fence=False)), key=lambda one: one[1:3])

    async def go():
        async with new_consumer(broker, topic) as consumer:
            return await records(consumer, 2800)

    ours = run_in_loop(go())
    assert sorted(map(fields, ours), key=lambda one: one[1:3]) == theirs
    for partition in range(4):      # in order
        assert numbers(record for record in ours if record.partition == partition) == list(range(700))


def test_batches_and_polls_with_their_limits(broker, topic):
    write(broker, topic, 2000)

    async def go():
        async with new_consumer(broker, topic) as consumer:
            found = []
            async for batch in consumer.batches(max_records=300):
                assert len(batch) <= 300
                with pytest.raises(RuntimeError, match="headers=True"):
                    _ = batch[0].headers
                found += numbers(batch)
                if len(found) == 2000:
                    break
            assert found == list(range(2000))
            await consumer.seek((topic, 0), 1500)
            polled = await consumer.poll(SECONDS, 100)
            assert numbers(polled) == list(range(1500, 1500 + len(polled))) and len(polled) <= 100
            assert polled[0].headers == []
            follows = await consumer.poll_batch(SECONDS, max_records=10, headers=True)
            assert follows[0].offset == polled[-1].offset + 1 and follows[0].headers == []

    run_in_loop(go())


def test_a_timeout_gives_an_empty_batch(broker, topic):
    async def go():
        async with new_consumer(broker, topic) as consumer:
            for poll in consumer.poll, consumer.poll_batch:
                assert not await poll(0)
                assert len(await poll(0.05)) == 0
            assert consumer._side.waiting == []

    run_in_loop(go())


def test_a_poll_that_waits_gets_what_comes(broker, topic):
    async def go():
        async with new_consumer(broker, topic) as consumer:
            for number in range(5):         # again and again: librdkafka signals once, until it is served
                poll = asyncio.ensure_future(consumer.poll_batch())
                await until_waiting(consumer)
                await asyncio.to_thread(write, broker, topic, 1)
                batch = await asyncio.wait_for(poll, SECONDS)
                assert [record.offset for record in batch] == [number]

    run_in_loop(go())


def test_a_loop_left_early_loses_nothing(broker, topic):
    """Whoever reads next goes on with the next record: a loop, a poll, batches."""
    write(broker, topic, 3000)

    async def go():
        async with new_consumer(broker, topic) as consumer:
            assert numbers(await records(consumer, 10)) == list(range(10))
            assert consumer.position((topic, 0)) == 10
            assert numbers(await records(consumer, 10)) == list(range(10, 20))
            batch = await consumer.poll(SECONDS, 5)
            assert numbers(batch) == list(range(20, 20 + len(batch)))
            assert consumer.position((topic, 0)) == batch[-1].offset + 1
            rest = await records(consumer, 2980 - len(batch))
            assert numbers(rest) == list(range(20 + len(batch), 3000))
            assert consumer.position((topic, 0)) == 3000

    run_in_loop(go())


def test_a_commit_amid_a_loop_is_of_what_it_has_given(broker, topic):
    for partition in range(2):
        write(broker, topic, 500, partition)

    async def go():
        async with new_consumer(broker, topic) as consumer:
            given = {}
            for record in await records(consumer, 700):
                given[record.partition] = record.offset + 1
            await consumer.commit()
            committed = await consumer.committed([(topic, 0), (topic, 1)])
            assert {place.partition: offset for place, offset in committed.items()} == given
            await consumer.commit(record)
            await consumer.commit({(topic, 3): 17})
            assert await consumer.committed([(topic, 3)]) == {(topic, 3): 17}

    run_in_loop(go())


@pytest.mark.parametrize("change", ["seek", "pause", "assign"])
def test_what_changes_amid_a_loop_takes_effect_with_the_next_record(broker, topic, change):
    for partition in range(2):
        write(broker, topic, 1000, partition)

    async def go():
        async with new_consumer(broker) as consumer:
            consumer.assign({(topic, 0): 0, (topic, 1): 0})     # no beginning that librdkafka looks up, and may find too late
            async for record in consumer:
                break
            first, other = (topic, record.partition), (topic, 1 - record.partition)
            if change == "seek":
                await consumer.seek(first, 900)
                expected = {first: list(range(900, 1000)), other: list(range(1000))}
            elif change == "pause":
                consumer.pause([first])
                expected = {other: list(range(1000))}
            else:
                consumer.assign({other: 500})
                expected = {other: list(range(500, 1000))}
            read = await records(consumer, sum(map(len, expected.values())))
            found = {}
            for one in read:
                found.setdefault((one.topic, one.partition), []).append(one.offset)
            assert found == expected
            if change == "pause":
                consumer.resume()
                assert numbers(await records(consumer, 999)) == list(range(1, 1000))

    run_in_loop(go())


@pytest.mark.parametrize("read", ["records", "batches", "poll"])
def test_cancelled_anywhere_it_loses_nothing(broker, topic, read):
    """A task is cancelled after each number of the loop's turns; the records that it has got and those of the others are all."""
    write(broker, topic, 4000)

    async def go():
        found = []

        async def reads(consumer):
            if read == "records":
                async for record in consumer:
                    found.append(record.offset)
                    if len(found) % 100 == 0:
                        await asyncio.sleep(0)
            elif read == "batches":
                async for batch in consumer.batches(max_records=100):
                    found.extend(record.offset for record in batch)
            else:
                while True:
                    found.extend(record.offset for record in await consumer.poll(None, 100))

        async with new_consumer(broker, topic) as consumer:
            turns = 0
            async with asyncio.timeout(SECONDS):
                while len(found) < 4000:
                    task = asyncio.ensure_future(reads(consumer))
                    for _ in range(turns % 7):
                        await asyncio.sleep(0)
                    if turns % 7 == 6 and consumer._side.waiting:
                        await asyncio.wait(consumer._side.waiting, timeout=0.05)
                    task.cancel()
                    await asyncio.wait((task,))
                    assert task.cancelled()
                    turns += 1
            assert found == list(range(4000))

    run_in_loop(go())


def test_of_two_tasks_that_poll_the_second_is_refused(broker, topic):
    async def go():
        async with new_consumer(broker, topic) as consumer:
            waits = asyncio.ensure_future(consumer.poll_batch())
            await until_waiting(consumer)
            for poll in consumer.poll, consumer.poll_batch, lambda: anext(aiter(consumer)):
                with pytest.raises(RuntimeError, match="another task polls"):
                    await poll()
            await asyncio.to_thread(write, broker, topic, 1)
            assert len(await asyncio.wait_for(waits, SECONDS)) == 1
            assert not await consumer.poll_batch(0)

    run_in_loop(go())


def test_wakeup_ends_a_wait_or_a_loop(broker, topic):
    write(broker, topic, 3)

    async def go():
        async with new_consumer(broker, topic) as consumer:
            found = []
            async for record in consumer:
                found.append(record.offset)
                if len(found) == 3:
                    threading.Thread(target=consumer.wakeup).start()        # from any thread
            assert found == [0, 1, 2]
            consumer.wakeup()               # before there is a wait: it is for the next one
            async for _ in consumer.batches():
                pytest.fail("there is no more")
            poll = asyncio.ensure_future(consumer.poll())
            await until_waiting(consumer)
            consumer.wakeup()
            assert not await asyncio.wait_for(poll, SECONDS)
            await asyncio.to_thread(write, broker, topic, 1)
            assert len(await records(consumer, 1)) == 1

    run_in_loop(go())


@pytest.mark.parametrize("read", ["records", "batches"])
def test_wakeup_ends_a_loop_that_does_not_wait(broker, topic, read):
    """With a full queue too, as a worker that has to stop; what it has not given is there for the next loop."""
    write(broker, topic, 4000)

    async def go():
        async with new_consumer(broker, topic) as consumer:
            found = []
            async with asyncio.timeout(SECONDS):
                async for one in consumer if read == "records" else consumer.batches(max_records=100):
                    found += [one.offset] if read == "records" else [record.offset for record in one]
                    if len(found) >= 10:
                        consumer.wakeup()
                        await asyncio.sleep(0)
            assert 10 <= len(found) <= 110
            rest = await records(consumer, 4000 - len(found))
            assert found + [record.offset for record in rest] == list(range(4000))

    run_in_loop(go())


def test_the_ends_of_partitions_are_in_batches_and_not_among_records(broker, topic):
    write(broker, topic, 2)

    async def go():
        async with new_consumer(broker, topic, range(2), enable_partition_eof=True) as consumer:
            eofs = {}
            async with asyncio.timeout(SECONDS):
                async for batch in consumer.batches():
                    eofs.update(batch.eofs)
                    if len(eofs) == 2:
                        break
            assert eofs == {(topic, 0): 2, (topic, 1): 0}
            await consumer.seek_to_beginning()
            assert numbers(await records(consumer, 2)) == [0, 1]

    run_in_loop(go())


def test_what_librdkafka_reports_is_raised_and_reading_goes_on(broker, topic):
    write(broker, topic, 10)

    async def go():
        async with new_consumer(broker, auto_offset_reset="error") as consumer:
            consumer.assign({(topic, 0): 1000})
            with pytest.raises(KafkaException) as caught:
                await asyncio.wait_for(anext(aiter(consumer)), SECONDS)
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            consumer.assign({(topic, 0): 8})
            assert numbers(await records(consumer, 2)) == [8, 9]

    run_in_loop(go())


def test_offsets_of_brokers(broker, topic):
    write(broker, topic, 10)

    async def go():
        async with new_consumer(broker, topic) as consumer:
            places = [(topic, 0), (topic, 1)]
            assert await consumer.beginning_offsets(places) == {places[0]: 0, places[1]: 0}
            assert await consumer.end_offsets(places) == {places[0]: 10, places[1]: 0}
            assert await consumer.offsets_for_times({places[0]: 1}) == {}       # the mock cluster keeps no times
            await consumer.seek_to_end()
            assert consumer.position(places[0]) is None
            await consumer.seek(places[0], 9)
            assert numbers(await records(consumer, 1)) == [9]

    run_in_loop(go())


def test_bad_arguments_are_refused_at_the_call(broker, topic):
    async def go():
        async with new_consumer(broker, topic) as consumer:
            for call, error in ((lambda: consumer.poll(max_records=0), ValueError),
                                (lambda: consumer.poll_batch(max_bytes="1"), TypeError),
                                (lambda: consumer.poll("soon"), TypeError),
                                (lambda: anext(aiter(consumer.batches(max_records=-1))), ValueError),
                                (lambda: consumer.commit(17), TypeError),
                                (lambda: consumer.seek((topic, 17), 0), KafkaException)):
                with pytest.raises(error):
                    await call()
            with pytest.raises(TypeError):
                consumer.assign(topic)
            for time in Timestamp(17), datetime.now(UTC):       # which would block the loop
                with pytest.raises(TypeError, match="assign without them, and then `await seek"):
                    consumer.assign({(topic, 0): time})
            assert len(consumer.assignment()) == 4
            consumer.wakeup()
            assert not await consumer.poll()

    run_in_loop(go())


def test_records_that_come_during_a_seek_do_not_hold_the_loop_up(broker, topic):
    """The poll that waits finds none before the end of the seek, which needs the loop."""
    async def go():
        ended = threading.Event()
        async with new_consumer(broker, topic) as consumer:
            poll = asyncio.ensure_future(consumer.poll())
            await until_waiting(consumer)
            seeks = asyncio.ensure_future(consumer._side.seek(consumer, lambda seconds: ended.wait(SECONDS), [], SECONDS))
            while not consumer._side.seeking:
                await asyncio.sleep(0)
            write(broker, topic, 1)
            while not consumer._side.client.has_records():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert not poll.done() and not seeks.done()
            ended.set()
            await seeks
            assert numbers(await asyncio.wait_for(poll, SECONDS)) == [0]

    run_in_loop(go())


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="no eventfd here")
def test_where_the_second_descriptor_is_missing_the_first_is_not_written_to(monkeypatch):
    """It is closed, and its number may be another file's then."""
    make, made = os.eventfd, []

    def eventfd(*args):
        if made:
            raise OSError(errno.EMFILE, "Too many open files")
        made.append(make(*args))
        return made[0]

    async def go():
        monkeypatch.setattr(os, "eventfd", eventfd)
        with pytest.raises(OSError, match="Too many open files"):
            await consumer.poll()
        monkeypatch.undo()
        other = make(0, os.EFD_NONBLOCK)
        assert other == made[0]
        consumer._side.client.dispatch_events()     # only the first one in an empty queue is signalled
        async with asyncio.timeout(SECONDS):
            while not consumer._side.client.has_events():
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        with pytest.raises(BlockingIOError):
            os.read(other, 8)
        os.close(other)
        assert not await consumer.poll(0)       # it can be bound again
        await consumer.close()

    consumer = KafkaConsumer(properties(NOWHERE, QUIET, {"statistics.interval.ms": 50, "stats_cb": lambda text: None}))
    run_in_loop(go())


def test_callbacks_run_in_the_loop():
    errors = []

    async def go():
        called = asyncio.Event()

        def on_error(error):
            errors.append((error.code, threading.get_ident(), asyncio.get_running_loop()))
            called.set()

        async with KafkaConsumer(properties(NOWHERE, {"error_cb": on_error, "log_level": 0})):
            await asyncio.wait_for(called.wait(), SECONDS)
        return threading.get_ident(), asyncio.get_running_loop()

    where = run_in_loop(go())
    assert errors[0][1:] == where
