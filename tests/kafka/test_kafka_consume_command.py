"""`kafkapp consume` against a real Kafka: offsets of times, which the embedded cluster does not find; a copy; what is not committed."""
import pytest
from command_line import run

from kafkapp import KafkaAsyncProducer, KafkaSyncProducer

NOON = 1795867200000        # 2026-11-28T12:00Z


@pytest.fixture
def consume(kafka, topic):
    def consume(*arguments):
        result = run("consume", "-b", kafka.bootstrap_servers, topic, "-q", "-f", "%s", *arguments)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout
    return consume


def test_it_begins_and_ends_at_times(kafka, topic, consume):
    with KafkaAsyncProducer({"bootstrap.servers": kafka.bootstrap_servers}) as producer:
        for n in range(10):
            producer.send(topic, b"%d" % n, timestamp=NOON + n)
            producer.flush()
    assert consume("-o", f"s@{NOON + 3}", "-o", f"e@{NOON + 5}") == "34"
    assert consume("-o", "@2026-11-28T13:00:00.007+01:00", "-e") == "789"
    assert consume("-o", "e@2026-11-28T12:00:00.002Z") == "01"
    assert consume("-o", 5, "-o", f"e@{NOON + 2}") == consume("-o", f"@{NOON + 10}", "-e") == consume("-o", f"e@{NOON}") == ""
    assert consume("-o", "e@2030-01-01T00:00Z") == "0123456789"


def test_what_a_transaction_has_aborted_is_not_there(kafka, topic, consume):
    with KafkaSyncProducer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic}) as producer:
        producer.init_transactions()
        for value, end in (b"a", producer.commit_transaction), (b"b", producer.abort_transaction), (b"c", producer.commit_transaction):
            producer.begin_transaction()
            producer.send(topic, value)
            end()
    assert consume("-e") == consume("-o", "e@2030-01-01T00:00Z") == "ac"
    assert consume("-e", "-X", "isolation.level=read_uncommitted") == "abc"
    assert consume("-c", 2) == "ac" and consume("-e", "-o", -2) == "c"        # the last two offsets: a record and its marker
