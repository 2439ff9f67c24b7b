"""Numbers wherever the API takes one, NumPy's and pandas' too: accepted exactly, or refused naming the argument."""
import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from helpers import NOWHERE

from kafkapp import EventsPollingOption, KafkaAsyncProducer, ProducerRecord, Timestamp
from kafkapp.aio import KafkaProducer

pd = pytest.importorskip("pandas")
MOMENT = pd.Timestamp("2024-01-01 12:00:00.123456789", tz="Europe/Berlin")
MS = 1704106800123
QUIET = {"bootstrap.servers": NOWHERE, "log_level": 0, "error_cb": lambda error: None}


class Index:
    def __init__(self, answer):
        self.answer = answer

    def __index__(self):
        return self.answer


class Lying(int):
    """What it says of itself is not what it is."""

    def __index__(self):
        return -1

    __int__ = __float__ = __lt__ = __le__ = __gt__ = __ge__ = bit_length = None

    def __repr__(self):
        raise OSError("asked for its text")

    __str__ = __repr__


@pytest.fixture(scope="module")
def producer():
    with KafkaAsyncProducer(QUIET | {"linger.ms": 60000}, EventsPollingOption.Manual) as producer:
        yield producer
        producer.close(0)


def record(name, number):
    """The argument as a record has it: given, set, and for a batch."""
    ProducerRecord("t", **{name: number})
    made = ProducerRecord("t")
    setattr(made, name, number)
    return getattr(made, name)


def seconds(way):
    """`way` of a number of seconds, which is over at once: nothing is in flight."""
    def call(producer, number):
        producer.purge()
        while len(producer):
            producer.poll_events(1)
        return getattr(producer, way)(number)

    return call


async def at_aio(number):
    aio = KafkaProducer(QUIET)
    try:
        await aio.flush(number)
    finally:
        await aio.close(0)


PLACES = {
    "partition": lambda producer, number: record("partition", number),
    "timestamp": lambda producer, number: record("timestamp", number),
    "offset": lambda producer, number: producer.send_offsets_to_transaction([("t", 0, number)], ("g", -1, "", None), 0),
    "partition of an offset": lambda producer, number: producer.send_offsets_to_transaction([("t", number, 0)], ("g", -1, "", None), 0),
    "partition of a batch": lambda producer, number: producer.send_batch("t", [b"v"], partition=number),
    "timestamp of a batch": lambda producer, number: producer.send_batch("t", [b"v"], timestamps=number),
    "timeout: flush": seconds("flush"), "timeout: poll_events": seconds("poll_events"),
    "timeout: send_batch": lambda producer, number: producer.send_batch("t", [], timeout=number),
    "timeout: send": lambda producer, number: producer.send(ProducerRecord("t"), timeout=number),
    "timeout: aio": lambda producer, number: asyncio.run(at_aio(number)),
    "ms": lambda producer, number: Timestamp(number).ms,
}
NUMBERS = {
    "int8": np.int8(5), "int32": np.int32(5), "int64": np.int64(5), "uint64": np.uint64(5), "0-d array": np.array(5), "__index__": Index(5),
    "lying int": Lying(5), "pandas' int": pd.Series([5])[0],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", NUMBERS)
def test_an_integer_of_any_make_is_taken(producer, place, number):
    try:
        taken = PLACES[place](producer, NUMBERS[number])
    except Exception as error:
        assert "transactional.id" in str(error), error     # librdkafka's answer: the number was taken
    else:
        assert taken == 5 or place.endswith("batch") or place.startswith("timeout")


WRONG = {
    "True": True, "False": False, "numpy.True_": np.True_, "array of bool": np.array(True), "float": 5.5, "float32": np.float32(5), "nan": float("nan"),
    "NaT": pd.NaT, "NA": pd.NA, "Decimal": Decimal(5), "Fraction": Fraction(5), "complex": 5j, "str": "5", "bytes": b"5", "list": [5], "array": np.array([5]),
    "two": np.array([5, 6]), "Series": pd.Series([5]), "datetime64": np.datetime64(5, "s"), "timedelta64": np.timedelta64(5, "s"),
    "index of none": Index("5"), "index of float": Index(5.0), "huge": 10**400, "huge index": Index(10**30), "negative": -5, "hugely negative": -10**400,
    "lying negative": Lying(-5), "lying huge": Lying(10**5000), "numpy negative": np.int64(-5), "uint64, most": np.uint64(2**64 - 1), "naive": datetime(2024, 1, 1), "naive of pandas": pd.Timestamp("2024-01-01"),
}
# Where they do stand for something.
GOOD = {("timestamp of a batch", "array"), ("timestamp of a batch", "Series"), ("timeout", "float"), ("timeout", "huge index"), ("timeout", "uint64, most"), ("ms", "huge"), ("ms", "huge index"), ("ms", "negative"), ("ms", "lying negative"), ("ms", "lying huge"),
        ("ms", "hugely negative"), ("ms", "numpy negative"), ("ms", "uint64, most")}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", WRONG)
def test_what_is_no_such_number_is_refused_by_name(producer, place, number):
    if (place.partition(":")[0], number) in GOOD:
        return
    with pytest.raises((TypeError, ValueError)) as caught:
        PLACES[place](producer, WRONG[number])
    argument = next(name for name in ("partition", "timestamp", "offset", "timeout", "ms") if name in place)
    assert argument in str(caught.value), str(caught.value)


def test_times_of_pandas_are_taken_to_the_millisecond(producer):
    for moment, ms in ((MOMENT, MS), (MOMENT.to_pydatetime(warn=False), MS), (MOMENT.tz_convert("UTC"), MS), (MOMENT.as_unit("s"), MS // 1000 * 1000),
                       (pd.Timestamp("1970-01-01 00:00:00.001999999", tz="UTC"), 1), (pd.Timestamp.max.tz_localize("UTC"), 9223372036854),
                       (pd.Timestamp("2024-10-27 02:30:00").tz_localize("Europe/Berlin", ambiguous=False), 1729992600000),
                       (pd.Timestamp("2024-10-27 02:30:00").tz_localize("Europe/Berlin", ambiguous=True), 1729989000000)):
        assert record("timestamp", moment) == ms, moment
    for moment in (pd.Timestamp("1960-01-01", tz="UTC"), pd.Timestamp(0, tz="UTC")):
        with pytest.raises(ValueError, match="timestamp must be from 1 to"):
            record("timestamp", moment)


def test_a_datetime_with_arithmetic_of_its_own():
    class Evil(datetime):
        def __sub__(self, other):
            return self.answer

    evil = Evil(2024, 1, 1, tzinfo=UTC)
    for evil.answer, text in ((5, "cannot be converted"), (None, "cannot be converted"), (timedelta(0), "timestamp must be from"), (Index(5), "cannot be conv")):
        with pytest.raises(ValueError, match=text):
            ProducerRecord("t", timestamp=evil)


def test_timeouts_of_pandas_and_numpy(producer):
    for timeout in (pd.Timedelta(0), pd.Timedelta("1ms"), np.float64(0.001), np.int64(0), timedelta(0), 1e300, float("inf"), 10**18):
        seconds("flush")(producer, timeout)
    for timeout in (pd.Timedelta("-1s"), timedelta(-1), np.float64("nan"), float("-inf")):
        with pytest.raises(ValueError, match="timeout must be at least 0 seconds"):
            producer.flush(timeout)
