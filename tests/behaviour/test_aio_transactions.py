"""kafkapp.aio: transactions as coroutines: with timeouts, cancelled at any point, and while the loop goes on.

On the embedded cluster, which has the coordinator's answers; readers are in kafka/test_kafka_transactions.py.
"""
import asyncio
import contextlib
import uuid

import pytest
from helpers import NOWHERE, Stopwatch, properties, run_in_loop, wait_for
from proxy import Front
from transactional_producers import ENDS, create_sources, err, kind_of

from kafkapp import KafkaException
from kafkapp.aio import KafkaProducer, transactions
from kafkapp.aio.transactions import LoopTransaction
from kafkapp.testing import ApiKey

SECONDS = 10
GROUP = ("group", -1, "", None)
STATE, TIMED_OUT = err("_STATE"), err("_TIMED_OUT")


def open_producer(where, **more):
    return KafkaProducer(properties(where, {"transactional.id": f"id-{uuid.uuid4().hex[:8]}", "linger.ms": 0,
                                            "log_cb": lambda *log: None}, **more))


@contextlib.asynccontextmanager
async def initialized(where, **more):
    async with open_producer(where, **more) as producer:
        await producer.init_transactions(SECONDS)
        yield producer


async def failing(awaitable):
    """The Error that it raises."""
    with pytest.raises(KafkaException) as failure:
        await awaitable
    return failure.value.error


def test_what_is_sent_before_a_commit_is_delivered_when_it_returns(cluster, topic):
    offsets = []

    async def go():
        async with initialized(cluster) as producer:
            for round in range(3):
                await producer.begin_transaction()
                futures = [producer.send(topic, b"%d-%d" % (round, n), partition=0) for n in range(5)]
                await producer.commit_transaction(SECONDS)
                offsets.extend(future.result().offset for future in futures)

    run_in_loop(go())
    read = cluster.records(topic)
    assert [record.value for record in read] == [b"%d-%d" % (r, n) for r in range(3) for n in range(5)]
    assert [record.offset for record in read] == offsets


def test_records_that_wait_for_room_are_part_of_the_commit_and_are_failed_by_an_abort(cluster, topic):
    async def go():
        async with initialized(cluster, queue_buffering_max_messages=5) as producer:
            await producer.begin_transaction()
            futures = [producer.send(topic, b"%d" % n, partition=0) for n in range(100)]
            assert not futures[-1].done()
            await producer.commit_transaction(SECONDS)
            assert [future.result().offset for future in futures] == list(range(100))
            await producer.begin_transaction()
            cluster.set_rtt(None, 1)
            futures = [producer.send(topic, b"%d" % n, partition=0) for n in range(100)]
            assert kind_of(error := await failing(producer.commit_transaction(0.05))) == "retriable"
            assert "wait for room" in error.message
            cluster.set_rtt(None, 0)
            await producer.abort_transaction(SECONDS)
            assert {future.exception().error.code for future in futures[5:]} == {err("_PURGE_QUEUE")}
            async with producer.transaction():
                last = producer.send(topic, b"last", partition=0)
            assert last.done()

    run_in_loop(go())


def test_calls_out_of_order_raise_and_say_what_comes_first(cluster):
    async def go():
        async with KafkaProducer(properties(cluster)) as plain:
            for call in plain.init_transactions, plain.begin_transaction:
                assert (await failing(call())).code == err("_NOT_CONFIGURED")
        async with open_producer(cluster) as producer:
            with pytest.raises(KafkaException) as refused:
                await producer.begin_transaction()
            assert any("init_transactions() comes first" in note for note in refused.value.__notes__)
            for call in producer.commit_transaction, producer.abort_transaction:
                assert (await failing(call())).code == STATE
            await producer.init_transactions(SECONDS)
            for call, first in (
                (producer.commit_transaction(), "begin_transaction() comes before commit_transaction()"),
                (
                    producer.send_offsets_to_transaction([("t", 0, 1)], ("g", -1, "", None)),
                    "begin_transaction() comes before send_offsets_to_transaction()",
                ),
            ):
                with pytest.raises(KafkaException) as refused:
                    await call
                assert any(first in note for note in refused.value.__notes__)
            assert (await failing(producer.send("t", b"v"))).code == STATE
            await producer.begin_transaction()
            assert (await failing(producer.begin_transaction())).code == STATE
            await producer.abort_transaction(SECONDS)
        for call in producer.init_transactions, producer.begin_transaction, producer.commit_transaction:
            with pytest.raises(RuntimeError, match="closed"):
                await call()

    run_in_loop(go())


def test_offsets_are_sent_with_the_transaction(cluster):
    create_sources(cluster)

    async def go():
        with Front(cluster.bootstrap_servers) as front:
            async with initialized(front) as producer:
                async with producer.transaction():
                    await producer.send_offsets_to_transaction([("source", 0, 5)], GROUP, SECONDS)
                for bad in [("source", 0)], 5:
                    with pytest.raises(TypeError):
                        await producer.send_offsets_to_transaction(bad, GROUP)
                assert (await failing(producer.send_offsets_to_transaction([("source", 0, 5)], GROUP))).code == STATE
            assert (front.count("request", int(ApiKey.TxnOffsetCommit)), front.count("request", int(ApiKey.EndTxn))) == (1, 1)

    run_in_loop(go())


# -- timeouts ----------------------------------------------------------------------------------------------------------

async def turns_during(awaitable):
    """How often the loop turns while it is awaited, and what it raises."""
    task, turns = asyncio.ensure_future(awaitable), 0
    while not task.done():
        turns += 1
        await asyncio.sleep(0.01)
    return turns, task.exception()


def test_without_a_cluster_a_call_ends_with_its_time_and_the_loop_goes_on():
    async def go():
        producer = open_producer(NOWHERE, message_timeout_ms=1000)
        for _ in range(2):
            with Stopwatch() as watch:
                turns, failure = await turns_during(producer.init_transactions(0.3))
            assert kind_of(failure.error) == "retriable" and turns > 1 and 0.25 < watch.seconds < 5
        await producer.close(0)

    run_in_loop(go())


@pytest.mark.parametrize("end, other", [("commit_transaction", "abort_transaction"),
                                        ("abort_transaction", "commit_transaction")])
def test_an_end_that_timed_out_is_resumed_and_conflicts_with_the_other_until_then(cluster, topic, end, other):
    async def go():
        async with initialized(cluster) as producer:
            await producer.begin_transaction()
            await producer.send(topic, b"v", partition=0)
            cluster.push_broker_errors(1, ApiKey.EndTxn, (0, 2))
            for call, code in (end, TIMED_OUT), (other, err("_CONFLICT")):
                error = await failing(getattr(producer, call)(0.1))
                assert (error.code, kind_of(error)) == (code, "retriable")
            for _ in range(2):
                await getattr(producer, end)(SECONDS)
                await producer.begin_transaction()
            await producer.abort_transaction(SECONDS)

    run_in_loop(go())


# -- cancelled ---------------------------------------------------------------------------------------------------------

async def cancelled(awaitable, turns):
    task = asyncio.ensure_future(awaitable)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
        return False
    return True


async def open_transaction(cluster, topic, producer, seconds):
    """A transaction with a record, whose end the coordinator answers after `seconds`."""
    await producer.begin_transaction()
    await producer.send(topic, b"v", partition=0)
    cluster.push_broker_errors(1, ApiKey.EndTxn, (0, seconds))


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 20])
@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_a_second_call_has_the_result_of_the_cancelled_one(cluster, topic, end, turns):
    async def go():
        async with initialized(cluster) as producer:
            await open_transaction(cluster, topic, producer, 0.3)
            if not await cancelled(getattr(producer, end)(), turns):
                return
            await getattr(producer, end)(SECONDS)
            assert (await failing(getattr(producer, end)(SECONDS))).code == STATE

    run_in_loop(go())


def test_a_cancelled_commit_goes_on_and_the_other_calls_wait_for_it(cluster, topic):
    async def go():
        async with initialized(cluster) as producer:
            await open_transaction(cluster, topic, producer, 0.5)
            with Stopwatch() as watch, pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await producer.commit_transaction()
            assert watch.seconds < 0.5 or (await failing(producer.abort_transaction(SECONDS))).code == STATE
            assert (await failing(producer.abort_transaction(SECONDS))).code == STATE        # it is committed
            await open_transaction(cluster, topic, producer, 2)
            assert await cancelled(producer.commit_transaction(), 5)
            assert (await failing(producer.abort_transaction(0.05))).code == TIMED_OUT       # it runs
            await producer.begin_transaction()
            await producer.abort_transaction(SECONDS)

    run_in_loop(go())


def test_a_cancelled_begin_or_init_is_taken_up(cluster, topic):
    async def go():
        async with open_producer(cluster) as producer:
            cluster.set_rtt(None, 0.2)
            assert await cancelled(producer.init_transactions(), 5)
            await producer.init_transactions(SECONDS)
            cluster.set_rtt(None, 0)
            for turns in range(6):
                if await cancelled(producer.begin_transaction(), turns):
                    await producer.begin_transaction()
                await producer.send(topic, b"v")
                await producer.commit_transaction(SECONDS)

    run_in_loop(go())


def test_two_tasks_that_end_the_same_transaction(cluster, topic):
    async def go():
        async with initialized(cluster) as producer:
            await open_transaction(cluster, topic, producer, 0.3)
            outcomes = await asyncio.gather(producer.commit_transaction(SECONDS), producer.commit_transaction(SECONDS))
            assert outcomes == [None, None]
            await producer.begin_transaction()
            await producer.abort_transaction(SECONDS)

    run_in_loop(go())


def test_of_tasks_that_begin_at_once_one_has_begun_a_transaction(cluster):
    async def begun(producer, tasks):
        outcomes = await asyncio.gather(*(producer.begin_transaction() for _ in range(tasks)), return_exceptions=True)
        assert sorted(outcome.error.code if outcome else 0 for outcome in outcomes) == [STATE] * (tasks - 1) + [0]
        await producer.abort_transaction(SECONDS)

    async def go():
        async with initialized(cluster) as producer:
            await begun(producer, 3)
            if await cancelled(producer.begin_transaction(), 2):
                await begun(producer, 3)        # one of them has its result

    run_in_loop(go())


def test_an_abort_without_transactions_is_an_error_and_no_records_end(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster, queue_buffering_max_messages=2)) as producer:
            futures = [producer.send(topic, b"%d" % n, partition=0) for n in range(5)]
            assert (await failing(producer.abort_transaction(SECONDS))).code == err("_NOT_CONFIGURED")
            assert [(await future).offset for future in futures] == list(range(5))

    run_in_loop(go())


@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_a_close_amid_it_ends_it(cluster, topic, end):
    async def go():
        producer = open_producer(cluster)
        await producer.init_transactions(SECONDS)
        await producer.begin_transaction()
        await producer.send(topic, b"v", partition=0)
        cluster.push_broker_errors(1, ApiKey.EndTxn, (0, 3))
        ending = asyncio.ensure_future(getattr(producer, end)())
        await asyncio.sleep(0.1)
        await producer.close(0.2)
        with pytest.raises(RuntimeError, match="closed"):
            await asyncio.wait_for(ending, SECONDS)
        wait_for(lambda: producer._loop_side.client.transaction_call.is_finished)       # it keeps librdkafka's client

    run_in_loop(go())


# -- the context -------------------------------------------------------------------------------------------------------

def test_the_context_commits_gives_its_producer_and_aborts_when_its_body_raises_or_is_cancelled(cluster, topic):
    async def go():
        async with initialized(cluster) as producer:
            async with producer.transaction() as same:
                assert same is producer
                sent = producer.send(topic, b"committed", partition=0)
            assert sent.result().offset == 0
            for raised in ZeroDivisionError, GeneratorExit, asyncio.CancelledError:
                with pytest.raises(raised):
                    async with producer.transaction():
                        producer.send(topic, b"aborted", partition=0)
                        raise raised
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), producer.transaction():
                    await asyncio.sleep(60)
            for call in producer.commit_transaction, producer.abort_transaction:
                assert (await failing(call(SECONDS))).code == STATE         # nothing is left open

    run_in_loop(go())


@pytest.mark.parametrize("raised", [ZeroDivisionError, asyncio.CancelledError])
def test_a_body_that_raises_when_the_producer_is_closed_raises_that(cluster, raised):
    async def go():
        async with initialized(cluster) as producer:
            with pytest.raises(raised) as failure:
                async with producer.transaction():
                    await producer.close(SECONDS)
                    raise raised
            assert any("could not be aborted: the producer is closed" in note for note in failure.value.__notes__)

    run_in_loop(go())


def test_a_cancelled_context_does_not_wait_forever_for_its_abort(cluster, topic, monkeypatch):
    monkeypatch.setattr(transactions, "ABORT_SECONDS", 0.2)

    async def go():
        async with initialized(cluster) as producer:
            with pytest.raises(asyncio.CancelledError) as failure:
                async with producer.transaction():
                    await producer.send(topic, b"v", partition=0)
                    cluster.push_broker_errors(1, ApiKey.EndTxn, (0, 3))
                    raise asyncio.CancelledError
            assert any("could not be aborted" in note for note in failure.value.__notes__)
            await producer.abort_transaction(SECONDS)
            async with producer.transaction():
                pass

    run_in_loop(go())


class Scripted:
    """A fake producer whose commits and aborts end as the script says."""

    def __init__(self, **script):
        self.script, self.calls = script, []

    async def begin_transaction(self):
        self.calls.append("begin")

    async def commit_transaction(self, timeout=None):
        self.end("commit")

    async def abort_transaction(self, timeout=None):
        self.end("abort")

    def end(self, name):
        self.calls.append(name)
        if error := self.script[name].pop(0):
            raise KafkaException(error)


@ENDS
def test_the_context_repeats_what_can_be_repeated(commit, abort, calls, raised):
    producer = Scripted(commit=list(commit), abort=list(abort))

    async def go():
        async with LoopTransaction(producer):
            pass

    try:
        run_in_loop(go())
        assert raised is None
    except KafkaException as failure:
        assert failure.error == raised
    assert producer.calls == ["begin", *calls]
