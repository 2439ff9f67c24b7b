"""docs/guide/errors.md: what its table says of each code of a broker is what a delivery report says."""
import re

import pytest
from helpers import ROOT, Reports, properties

from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaException

PAGE = (ROOT / "docs" / "guide" / "errors.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.partition("## Errors of the broker")[2].splitlines() if line.startswith("| `RD_")]
CODES = [(code, row[2], row[3].strip(" |") if len(row) > 3 else "") for row in ROWS for code in re.findall(r"`(RD_KAFKA_\w+)`", row[0])]


def test_the_table_is_read():
    assert len(CODES) > 15 and {twice for _, _, twice in CODES} == {"", "no", "maybe"}


@pytest.mark.parametrize("code, again, twice", CODES, ids=lambda part: part.removeprefix("RD_KAFKA_RESP_ERR_"))
def test_a_record_may_be_there_twice_where_the_table_says_so(cluster, topic, code, again, twice):
    if ErrorCode[code] == ErrorCode.UNKNOWN_TOPIC_OR_PART:
        cluster.set_topic_error(topic, ErrorCode[code])     # of a Produce request it is retried, without a limit
    else:
        cluster.push_request_errors("PRODUCE", ErrorCode[code])
    reports = Reports()
    with KafkaAsyncProducer(properties(cluster, retries=0, topic_metadata_propagation_max_ms=0)) as producer:
        try:
            producer.send(topic, b"v", callback=reports)
        except KafkaException as exc:       # the topic's error may be known already
            assert (exc.error.code, ErrorCode[code]) == (ErrorCode._UNKNOWN_TOPIC, ErrorCode.UNKNOWN_TOPIC_OR_PART)
            return
    [(metadata, error)] = reports.calls
    assert error.code == ErrorCode[code] and error.is_retriable is None
    assert metadata.persisted_status.name == ("Possibly" if twice == "maybe" else "Not")
    assert (twice == "") == (again == "no")


def test_any_other_code_was_not_written(cluster, topic):
    cluster.push_request_errors("PRODUCE", ErrorCode.SECURITY_DISABLED)
    reports = Reports()
    with KafkaAsyncProducer(properties(cluster)) as producer:
        producer.send(topic, b"v", callback=reports)
    assert reports.codes == [ErrorCode.SECURITY_DISABLED] and reports.calls[0][0].persisted_status.name == "Not"
