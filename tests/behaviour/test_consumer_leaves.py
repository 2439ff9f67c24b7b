"""A consumer that ends leaves its group: another member has the partitions at once, not when the session would end."""
import asyncio
import gc
import warnings

import pytest
from groups import PROTOCOLS, Member, write
from helpers import Stopwatch, properties

import kafkapp.aio
from kafkapp import EventsPollingOption, KafkaConsumer
from kafkapp.testing import ApiKey

SESSION = 40        # seconds; of KIP-848 the broker's, 45


def member(protocol, group, cluster):
    more = {} if protocol == "KIP-848" else {"session.timeout.ms": SESSION * 1000}
    return properties(cluster, {"group.id": group, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20, **PROTOCOLS[protocol], **more})


def read_some(consumer, topic):
    consumer.subscribe([topic], timeout=30)
    while not (batch := consumer.poll(1)):
        pass
    return batch


def closed(given, topic):
    consumer = KafkaConsumer(given)
    read_some(consumer, topic)
    consumer.close()


def closed_manual(given, topic):
    consumer = KafkaConsumer(given, EventsPollingOption.Manual)
    read_some(consumer, topic)
    consumer.close()


def closed_with_views(given, topic):
    """What librdkafka waits for when it is destroyed."""
    consumer = KafkaConsumer(given)
    batch = read_some(consumer, topic)
    consumer.close()
    assert consumer.pinned_bytes
    return batch


def raised(given, topic):
    with pytest.raises(ZeroDivisionError), KafkaConsumer(given) as consumer:
        read_some(consumer, topic)
        raise ZeroDivisionError


def dropped(given, topic):
    consumer = KafkaConsumer(given)
    read_some(consumer, topic)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del consumer
        gc.collect()


def unsubscribed(given, topic):
    """It lives on."""
    consumer = KafkaConsumer(given)
    read_some(consumer, topic)
    consumer.unsubscribe()
    return consumer


def closed_aio(given, topic):
    async def read():
        async with kafkapp.aio.KafkaConsumer(given) as consumer:
            await consumer.subscribe([topic])
            while not await consumer.poll(1):
                pass

    asyncio.run(read())


ENDS = [closed, closed_manual, closed_with_views, raised, dropped, unsubscribed, closed_aio]


@pytest.fixture
def filled(cluster, topic):
    write(cluster, topic, [b"x" * 5000] * 3)
    return topic


@pytest.mark.parametrize("protocol", [each for each in PROTOCOLS if each == "KIP-848"])
@pytest.mark.parametrize("end", ENDS)
def test_another_member_has_the_partitions_at_once(cluster, filled, protocol, end):
    kept = end(member(protocol, filled, cluster), filled)
    with Stopwatch() as watch, Member(cluster, filled, protocol) as second:
        second.subscribe(filled, timeout=SESSION)
        assert watch.seconds < SESSION / 4 and second.partitions == {0, 1, 2, 3}
    del kept


@pytest.mark.parametrize("protocol", [each for each in PROTOCOLS if each != "KIP-848"])
@pytest.mark.parametrize("end", ENDS)
def test_it_says_that_it_leaves(cluster, filled, protocol, end):
    """Before the call returns. With these protocols the embedded cluster has the others wait all the same, a real one does not."""
    cluster.start_request_tracking()
    kept = end(member(protocol, filled, cluster), filled)
    assert any(request.api == ApiKey.LEAVE_GROUP for request in cluster.requests())
    del kept
