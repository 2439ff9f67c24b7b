"""Each record in logging.getLogger("kafkapp") has its client, facility and syslog level as fields, whoever wrote the line."""
import logging
import threading

import pytest

from helpers import HELD, NOWHERE, properties, wait_for

from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, KafkaSyncProducer
from kafkapp.common import log_lines, unretrieved

# The facility: librdkafka's connection log, the error that it reports, what a closing producer has lost.
LEVELS = {"FAIL": (3, logging.ERROR), "ERROR": (3, logging.ERROR), "BROKER": (7, logging.DEBUG), "LOST": (4, logging.WARNING)}


@pytest.mark.parametrize("facility", LEVELS)
def test_a_record_has_its_client_facility_and_level(facility, caplog):
    caplog.set_level(logging.DEBUG, "kafkapp")
    with KafkaSyncProducer(properties(NOWHERE, debug="broker")) as sync, KafkaAsyncProducer(properties(NOWHERE, HELD)) as producer:
        producer.send("t", b"v")
        producer.close(0)
        name = (producer if facility == "LOST" else sync).name
        level, logged = LEVELS[facility]        # with `debug`, librdkafka says FAIL at another level too
        found = wait_for(lambda: [record for record in caplog.records if record.name == "kafkapp" and record.levelno == logged
                                  and (record.kafka_client, record.kafka_facility) == (name, facility)], 30)
    assert {record.kafka_level for record in found} == {level}
    assert all(name in record.getMessage() for record in found)
    assert facility == "LOST" or all(record.getMessage().startswith(f"{name} {facility} ") for record in found)


def test_every_record_has_them(caplog):
    caplog.set_level(logging.DEBUG, "kafkapp")
    with KafkaAsyncProducer(properties(NOWHERE, {"stats_cb": print}, debug="all"), EventsPollingOption.Manual) as producer:
        wait_for(lambda: producer.poll_events(0.01) or any(record.levelno == logging.ERROR for record in caplog.records), 30)
    records = [record for record in caplog.records if record.name == "kafkapp"]
    assert len(records) > 10
    assert {(type(record.kafka_client), type(record.kafka_facility), type(record.kafka_level)) for record in records} == {(str, str, int)}
    assert producer.name in {record.kafka_client for record in records}


def test_the_line_about_failures_that_nobody_retrieved_has_them(caplog):
    caplog.set_level(logging.WARNING, "kafkapp")
    unretrieved.add("orders\n#producer-7", KafkaException(ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE), "t")
    record, = wait_for(lambda: [record for record in caplog.records if "producer-7" in record.getMessage()])
    assert (record.kafka_client, record.kafka_facility, record.kafka_level) == (r"orders\n#producer-7", "UNRETRIEVED", 4)
    assert record.getMessage().startswith(r"producer orders\n#producer-7: 1 records failed")


def test_the_line_about_dropped_lines_has_them(caplog, monkeypatch):
    """It is the logging thread's own, and of no client."""
    caplog.set_level(logging.WARNING, "kafkapp")
    wait_for(lambda: not log_lines.running)     # what earlier tests have left
    going_on = threading.Event()
    monkeypatch.setattr(log_lines, "MAX_LINES", 1)
    try:
        log_lines.log_later(going_on.wait, 30)
        wait_for(lambda: not log_lines.lines)   # the thread is in the first
        for _ in range(3):
            log_lines.log_later(int)
    finally:
        going_on.set()
    record, = wait_for(lambda: [record for record in caplog.records if getattr(record, "kafka_facility", None) == "DROPPED"])
    assert (record.kafka_client, record.kafka_level) == ("kafkapp", 4) and record.getMessage().startswith("2 log lines were dropped")
