"""A producer, the embedded cluster and its faults as a state machine, against a simple model.

The model: which records were accepted, which are reported; hypothesis looks for a sequence of
calls after which the two part.
"""
import time

from faultkit import make
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kafkapp import ErrorCode, KafkaException, ProducerRecord, SendOption
from kafkapp.testing import ApiKey, MockCluster

CLUSTER = []
RETRIABLE = (ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT, ErrorCode.RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION)
PERMANENT = (ErrorCode.RD_KAFKA_RESP_ERR_INVALID_RECORD, ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)


def cluster():
    if not CLUSTER:
        CLUSTER.append(MockCluster())
        CLUSTER[0].create_topic("t", 2)
    return CLUSTER[0]


class Model(RuleBasedStateMachine):
    @initialize(kind=st.sampled_from(["Auto", "Manual"]), room=st.sampled_from([3, 1000]))
    def open(self, kind, room):
        self.kind, self.room, self.closed, self.next = kind, room, False, 0
        self.accepted, self.reported, self.payloads, self.batches = set(), [], {}, []
        self.down = False
        self.producer = make(kind, cluster(), {"queue.buffering.max.messages": room, "linger.ms": 2,
                                               "message.timeout.ms": 5000, "reconnect.backoff.ms": 5,
                                               "reconnect.backoff.max.ms": 20})

    def call(self, call, *args, **kwargs):
        """A call of an open producer may fail as Kafka does; of a closed one it raises RuntimeError."""
        try:
            result = call(*args, **kwargs)
        except KafkaException as exc:
            assert not self.closed
            return exc.error
        except RuntimeError as exc:
            assert self.closed and "closed" in str(exc)
            return exc
        assert not self.closed, f"{call} of a closed producer"
        return result

    @rule(option=st.sampled_from(SendOption), size=st.sampled_from([0, 1, 100, 70_000]), partition=st.sampled_from([None, 0, 1]),
          refuse=st.booleans())
    def send(self, option, size, partition, refuse):
        number, self.next = self.next, self.next + 1
        payload = bytearray(size)
        record = ProducerRecord("t", partition, value=payload, id=number)

        def callback(metadata, error):
            payload.append(0)       # free by now
            self.reported.append(metadata.record_id)

        if refuse:
            result = self.call(self.producer.try_send, record, callback, option)
        else:
            result = self.call(self.producer.send, record, callback, option, timeout=0.05)
        if result is None:
            self.accepted.add(number)
            self.payloads[number] = payload
        else:
            payload.append(0)       # refused: not held

    @rule(count=st.sampled_from([0, 1, 5]))
    def send_batch(self, count):
        batch = self.call(self.producer.send_batch, "t", [b"v"] * count, timeout=0.05)
        if not isinstance(batch, Exception):
            assert batch.accepted <= len(batch) == count
            self.batches.append(batch)

    @rule()
    def flush(self):
        if self.closed:
            assert self.producer.flush(0.05) is None        # nothing is outstanding
        else:
            self.call(self.producer.flush, 0.05)

    @rule()
    def purge(self):
        self.call(self.producer.purge)

    @precondition(lambda self: self.kind == "Manual")
    @rule()
    def poll_events(self):
        self.call(self.producer.poll_events, 0.01)

    @rule()
    def metadata(self):
        self.call(self.producer.fetch_broker_metadata, "t", 0.05)

    @rule(code=st.sampled_from(RETRIABLE + PERMANENT))
    def inject(self, code):
        cluster().push_request_errors(ApiKey.Produce, code)

    @rule()
    def broker_down_or_up(self):
        (cluster().broker_up if self.down else cluster().broker_down)(1)
        self.down = not self.down

    @rule(timeout=st.sampled_from([0, 0.01]))
    def close(self, timeout):
        self.producer.close(timeout)
        self.closed = True
        self.all_complete()

    def all_complete(self):
        assert sorted(self.reported) == sorted(self.accepted)
        assert len(self.producer) == 0 and all(batch.done for batch in self.batches)
        assert not any(self.producer._ledger().values())
        for batch in self.batches:
            assert all(code != ErrorCode.RD_KAFKA_RESP_ERR__IN_PROGRESS for code in batch.errors)

    @invariant()
    def no_more_than_was_accepted(self):
        if not hasattr(self, "producer"):
            return
        reported = list(self.reported)
        assert len(set(reported)) == len(reported) and set(reported) <= self.accepted
        assert 0 <= len(self.producer) <= len(self.accepted) + sum(map(len, self.batches))

    def teardown(self):
        if hasattr(self, "producer"):
            if self.down:
                cluster().broker_up(1)
            cluster().clear_request_errors(ApiKey.Produce)
            start = time.monotonic()
            self.producer.close(0)
            assert time.monotonic() - start < 5
            self.all_complete()


def test_the_model_holds(faults):
    from hypothesis.stateful import run_state_machine_as_test

    try:
        run_state_machine_as_test(Model, settings=settings(
            max_examples=faults.rounds(25, 1000), stateful_step_count=30, deadline=None, derandomize=not faults.thorough,
            database=None, suppress_health_check=list(HealthCheck)))
    finally:
        while CLUSTER:
            CLUSTER.pop().close()


def test_control_a_wrong_model_is_found():
    import pytest
    from hypothesis.stateful import run_state_machine_as_test

    class Wrong(Model):
        def all_complete(self):
            assert not self.accepted        # nothing is ever accepted

    try:
        with pytest.raises((AssertionError, ExceptionGroup)):
            run_state_machine_as_test(Wrong, settings=settings(
                max_examples=20, stateful_step_count=10, deadline=None, derandomize=True, database=None,
                phases=[Phase.generate], suppress_health_check=list(HealthCheck)))
    finally:
        while CLUSTER:
            CLUSTER.pop().close()
