"""A broker's own error text for a refused record: preserved by our librdkafka, else replaced by the code's text.

Never anything else: librdkafka 2.4.0 to 2.15.1 return freed memory, unless build_support/patches fixes them.
"""
import pytest
from faultkit import make
from scripted_broker import ScriptedBroker, answer
from helpers import HELD, LIBRDKAFKA, Reports, keeps_words

from kafkapp import Error, ErrorCode, KafkaException, ProducerRecord
from kafkapp.config.application import librdkafka_is_patched

INVALID_RECORD = ErrorCode.RD_KAFKA_RESP_ERR_INVALID_RECORD
WORDS = "Compacted topic cannot accept message without key in topic partition t-0."
CODE = "Broker: Broker failed to validate record"
OTHERS = "Failed to append record because it was part of a batch which had one more more invalid records"
ROUNDS = 20         # memory that is free has other content soon


def test_a_build_with_our_patches_keeps_them():
    assert keeps_words() or not librdkafka_is_patched()


@pytest.mark.parametrize("said", [
    answer(INVALID_RECORD, words=WORDS),
    answer(INVALID_RECORD, errors=((0, WORDS),)),
    answer(INVALID_RECORD, errors=((0, WORDS),), words="one or more records were refused"),
], ids=["of all", "of one", "of both"])
@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
def test_a_refusal_has_the_brokers_words_or_the_codes(kind, said):
    outcomes = []
    with ScriptedBroker(lambda asked: said) as broker, make(kind, broker) as producer:
        for _ in range(ROUNDS):
            if kind == "sync":
                with pytest.raises(KafkaException) as caught:
                    producer.send(ProducerRecord("t", 0, value=b"v"))
                outcomes.append(caught.value.error)
            else:
                producer.send(ProducerRecord("t", 0, value=b"v"), lambda metadata, error: outcomes.append(error))
                producer.flush(20)
    assert [error.code for error in outcomes] == [INVALID_RECORD] * ROUNDS
    assert [error.message for error in outcomes] == [WORDS if keeps_words() else CODE] * ROUNDS


@pytest.mark.parametrize("words", ["", None, "ein Wort mit Umlauten: äöü €", "x" * 30_000], ids=["empty", "none", "letters", "long"])
def test_words_of_any_kind(words):
    outcomes = Reports()
    with ScriptedBroker(lambda asked: answer(INVALID_RECORD, words=words)) as broker, make("Auto", broker) as producer:
        producer.send(ProducerRecord("t", 0, value=b"v"), outcomes)
        producer.flush(20)
    assert outcomes.calls[0][1].message == (words if words and keeps_words() else CODE)


@pytest.mark.skipif(LIBRDKAFKA < (2, 4), reason="before 2.4.0 librdkafka reads no errors of single records")
@pytest.mark.parametrize("said", [
    {0: "zero", 3: "three"}, {1: "one", 2: None, 4: "four"}, {2: None, 3: "three"}, {0: "same", 1: "same", 2: "same", 3: "same", 4: "same"},
], ids=str)
def test_each_record_has_its_own_words(said):
    outcomes = Reports()
    step = answer(INVALID_RECORD, errors=tuple(said.items()), words="not of any")
    with ScriptedBroker(lambda asked: step) as broker, make("Auto", broker, HELD) as producer:
        producer.fetch_broker_metadata("t")
        for number in range(5):
            producer.send(ProducerRecord("t", 0, value=b"v", id=number), outcomes)
        producer.flush(20)
    found = {metadata.record_id: error.message for metadata, error in outcomes.calls}
    if keeps_words():
        assert found == {number: said.get(number, OTHERS) or CODE for number in range(5)}
    else:
        assert set(found.values()) <= {CODE, Error(ErrorCode.RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD).message}
