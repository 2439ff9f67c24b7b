"""Timestamps of records and metadata."""
import pickle
import time
from datetime import UTC, datetime, timedelta

import pytest

from kafkapp import Timestamp


def test_u6_timestamps(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    stamp = Timestamp(1577836801123)
    assert (stamp.ms, stamp.type, stamp.type.name) == (1577836801123, Timestamp.Type.CreateTime, "CreateTime")
    assert str(stamp) == "CreateTime[2020-01-01 00:00:01.123]"
    assert str(Timestamp(5, Timestamp.Type.LogAppendTime)) == "LogAppendTime[1970-01-01 00:00:00.005]"
    assert str(Timestamp(1577836801123, Timestamp.Type.NotAvailable)) == "2020-01-01 00:00:01.123"
    monkeypatch.setenv("TZ", "XST-2")
    time.tzset()
    assert str(stamp) == "CreateTime[2020-01-01 02:00:01.123]"
    assert stamp.datetime == datetime(2020, 1, 1, 0, 0, 1, 123000, tzinfo=UTC)
    assert stamp.datetime.utcoffset() == timedelta(0)
    monkeypatch.undo()
    time.tzset()


def test_timestamps_beyond_the_calendar():
    stamp = Timestamp(10**30)
    assert str(stamp) == f"CreateTime[{10**30} ms]"
    with pytest.raises(OverflowError):
        str(stamp.datetime)


def test_timestamps_are_values():
    assert Timestamp(1) == Timestamp(1) != Timestamp(1, Timestamp.Type.LogAppendTime) != Timestamp(2)
    assert hash(Timestamp(1)) == hash(Timestamp(1)) and pickle.loads(pickle.dumps(Timestamp(1))) == Timestamp(1)
    assert repr(Timestamp(1)) == "Timestamp(1, Timestamp.Type.CreateTime)"
    for bad in (1.5, "1", None):
        with pytest.raises(TypeError, match="ms must be an int"):
            Timestamp(bad)
    with pytest.raises(AttributeError):
        Timestamp(1).ms = 2
