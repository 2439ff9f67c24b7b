"""`kafkapp verifiable-producer`: its lines and records are those of Kafka's program. Its judge is in kafka/."""
import json
import signal
import subprocess

import pytest
from command_line import BOUND, new_topic, run, start
from helpers import NOWHERE
from readback import read_messages


@pytest.fixture
def topic():
    return new_topic()


def verify(servers, topic, *arguments):
    """The events of a run that has ended well, without their times. Logs go to standard error."""
    result = run("verifiable-producer", "--bootstrap-server", servers, "--topic", topic, *arguments)
    assert result.returncode == 0, result.stderr
    return events_of(result.stdout)


def events_of(text):
    events = [json.loads(line) for line in text.splitlines()]
    assert all(list(event)[:2] == ["timestamp", "name"] for event in events)
    return [{name: fact for name, fact in event.items() if name != "timestamp"} for event in events]


def test_each_acknowledged_record_is_in_the_topic_as_its_line_says(servers, topic):
    events = verify(servers, topic, "--max-messages", 7, "--value-prefix", 12, "--repeating-keys", 3,
                    "--message-create-time", 1_000_000_000_000)
    first, *sent, shutdown, summary = events
    assert (first, shutdown) == ({"name": "startup_complete"}, {"name": "shutdown_complete"})
    assert [list(event) for event in sent] == [["name", "key", "value", "topic", "partition", "offset"]] * 7
    assert {event["name"] for event in sent} == {"producer_send_success"}
    assert sorted((event["value"], event["key"]) for event in sent) == [(f"12.{i}", str(i % 3)) for i in range(7)]
    assert summary.pop("avg_throughput") > 0
    assert summary == {"name": "tool_data", "sent": 7, "acked": 7, "target_throughput": -1}
    read = read_messages(servers, topic)
    assert sorted((m.value().decode(), m.key().decode(), m.partition(), m.offset()) for m in read) == sorted(
        (event["value"], event["key"], event["partition"], event["offset"]) for event in sent)
    assert all(0 <= m.timestamp()[1] - 1_000_000_000_000 < BOUND * 1000 for m in read)


def test_without_keys_and_prefix_a_value_is_its_number(servers, topic):
    _, *sent, _, _ = verify(servers, topic, "--max-messages", 3, "--acks", 1)
    assert sorted((event["value"], event["key"]) for event in sent) == [(str(i), None) for i in range(3)]


def start_verifiable(*arguments):
    """Without a buffer on our side: communicate() does not return what a readline() has read ahead."""
    return start("verifiable-producer", *arguments, bufsize=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_every_outcome_is_printed(servers, topic, number):
    process = start_verifiable("--bootstrap-server", servers, "--topic", topic, "--throughput", 50)
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(number)
    out, err = process.communicate(timeout=BOUND)
    events = events_of((b"".join(lines) + out).decode())
    assert process.returncode == 128 + number and err == b""
    assert [event["name"] for event in events[-2:]] == ["shutdown_complete", "tool_data"]
    assert events[-1]["sent"] == events[-1]["acked"] == len(events) - 3 == len(read_messages(servers, topic))


def test_a_throughput_of_none_waits_after_the_first_record_for_a_signal(servers, topic):
    process = start_verifiable("--bootstrap-server", servers, "--topic", topic, "--throughput", 0)
    process.stdout.readline(), process.stdout.readline()
    process.terminate()
    assert process.communicate(timeout=BOUND)[0].count(b"producer_send") == 0
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("option", ["--command-config", "--producer.config"])
def test_what_is_not_delivered_is_a_line_with_its_cause(topic, tmp_path, option):
    file = tmp_path / "producer.properties"
    file.write_text("message.timeout.ms=300\nsocket.timeout.ms=300\n")
    _, *failed, _, summary = verify(NOWHERE, topic, option, file, "--max-messages", 2)
    assert [list(event) for event in failed] == [["name", "key", "value", "topic", "exception", "message"]] * 2
    assert {event["exception"] for event in failed} == {"RD_KAFKA_RESP_ERR__MSG_TIMED_OUT"}
    assert (summary["sent"], summary["acked"]) == (2, 0)


def test_a_second_signal_purges_what_nobody_has_acknowledged(topic, tmp_path):
    file = tmp_path / "producer.properties"
    file.write_text("message.timeout.ms=5000\n")
    process = start_verifiable("--bootstrap-server", NOWHERE, "--topic", topic, "--command-config", file,
                               "--throughput", 50)
    lines = [process.stdout.readline() for _ in range(2)]       # one has failed: those of the last 5 s have not
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.terminate()
    out, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 128 + signal.SIGTERM
    events = events_of((b"".join(lines) + out).decode())
    assert [event["name"] for event in events[-2:]] == ["shutdown_complete", "tool_data"]
    assert events[-1]["sent"] == len(events) - 3
    assert {event.get("exception") for event in events[2:-2]} >= {"RD_KAFKA_RESP_ERR__PURGE_QUEUE"}


BAD = {
    "no topic": (("--bootstrap-server", "x:1"), "--topic"),
    "no servers": (("--topic", "t"), "--bootstrap-server"),
    "acks": (("--topic", "t", "--bootstrap-server", "x:1", "--acks", "2"), "--acks"),
    "property": (("--topic", "t", "--bootstrap-server", "x:1", "--command-config", "FILE"), "bootstrap.server"),
    "both files": (("--topic", "t", "--bootstrap-server", "x:1", "--command-config", "FILE", "--producer.config", "FILE"),
                   "exclude each other"),
}


@pytest.mark.parametrize("arguments, text", BAD.values(), ids=BAD)
def test_a_mistake_is_one_line(arguments, text, tmp_path):
    file = tmp_path / "bad.properties"
    file.write_text("bootstrap.server=x\n")
    result = run("verifiable-producer", *[str(file) if each == "FILE" else each for each in arguments])
    assert result.returncode in (1, 2) and result.stdout == ""
    assert text in result.stderr and result.stderr.count("\n") == 1
