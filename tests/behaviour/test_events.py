"""Events of librdkafka: errors, tokens and texts as callbacks and calls get them."""
import ctypes
import decimal
import gc
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from helpers import LIBRDKAFKA, NOWHERE, Reports, needs, properties, wait_for

import kafkapp
from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, KafkaSyncProducer, ProducerRecord
from kafkapp.common import errors
from kafkapp.testing import ApiKey

Manual = EventsPollingOption.Manual
LIBRARY = ctypes.CDLL(errors.__file__)      # its symbols include those of the librdkafka that it is linked to
QUIET = {"log_cb": lambda *args: None, "error_cb": lambda error: None}
KINDS = {"auto": KafkaAsyncProducer, "manual": lambda made: KafkaAsyncProducer(made, Manual), "sync": KafkaSyncProducer}


@pytest.fixture
def unraisable(monkeypatch):
    """What was given to sys.unraisablehook."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_value))
    return seen


# -- errors ------------------------------------------------------------------------------------------------------------


def test_a_fatal_error_is_fatal_on_every_way(cluster, topic):
    code = ErrorCode.RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER
    reported, reports = [], Reports()
    made = properties(cluster, {"error_cb": reported.append, "log_cb": lambda *args: None}, enable_idempotence=True, linger_ms=0)
    with KafkaAsyncProducer(made) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(10)
        batch = producer.send_batch(topic, [], partition=0)
        cluster.push_request_errors(ApiKey.Produce, code)
        producer.send(ProducerRecord(topic, 0, value=b"v"), reports)
        batch = producer.send_batch(topic, [b"v"] * 3, partition=0)
        wait_for(lambda: reported)
        refused = producer.try_send(ProducerRecord(topic, 0, value=b"v"))
        with pytest.raises(KafkaException) as raised:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(10)
        fatal = [error for error in reported if error.code == code]
        assert [error.is_fatal for error in fatal] == [True] and "sequence" in fatal[0].message
        for error in refused, raised.value.error:
            assert error.is_fatal and error.code == code and error.message == fatal[0].message
        assert [error.is_fatal for error in reported if error.code != code] == [False] * (len(reported) - 1)
        (_metadata, error), = reports.calls
        assert error.is_fatal == (error.code == code), error
        failures = batch.failures()
        assert [error.is_fatal for _, error in failures] == [error.code == code for _, error in failures]
    assert batch.failures() == failures, "the same when it is closed"


def test_a_fatal_code_in_a_batch_is_the_fatal_error_after_close_too(cluster, topic):
    made = properties(cluster, QUIET, transactional_id="me", linger_ms=0)
    with KafkaAsyncProducer(made) as producer:
        producer.init_transactions(10)
        producer.begin_transaction()
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(10)
        cluster.push_request_errors(ApiKey.Produce, ErrorCode.RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH)
        batch = producer.send_batch(topic, [b"v"], partition=0)
        batch.wait(10)
        error = wait_for(lambda: producer.try_send(ProducerRecord(topic, 0, value=b"v")))
        again = producer.send_batch(topic, [b"v"], partition=0)
        (_, refused), = again.failures()
        with pytest.raises(KafkaException) as raised:
            producer.begin_transaction()
        assert raised.value.error.is_fatal == error.is_fatal
    (_, closed), = again.failures()
    assert (closed.code, closed.is_fatal, closed.message) == (refused.code, refused.is_fatal, refused.message)


def test_an_ordinary_error_is_not_fatal(broker, topic):
    reported = []
    with KafkaAsyncProducer(properties(NOWHERE, {"error_cb": reported.append, "log_cb": lambda *args: None})) as producer:
        wait_for(lambda: reported)
        producer.close(0)
    assert not any(error.is_fatal for error in reported)


# -- none is swallowed -------------------------------------------------------------------------------------------------


def all_of(raised, unraisable):
    """Every exception that was seen anywhere, those inside of groups too."""
    found = list(unraisable)
    if isinstance(raised, BaseExceptionGroup):
        found += raised.exceptions
    elif raised is not None:
        found.append(raised)
    return found


@pytest.mark.parametrize("call", ["poll_events", "flush", "close", "wait"])
def test_a_callback_beside_ctrl_c(broker, topic, unraisable, call):
    mine, interrupting = [ZeroDivisionError(), KeyError()], True

    def log_cb(*args):
        if interrupting:
            raise KeyboardInterrupt

    producer = KafkaAsyncProducer(properties(broker, {"log_cb": log_cb}, debug="all", linger_ms=0), Manual)
    turns = iter(mine)

    def callback(*args):
        exc = next(turns, None)
        if exc:
            raise exc

    batch = producer.send_batch(topic, [b"v"], partition=0, callback=callback)
    producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
    raised = None
    seen = []
    while len(seen) < 2:
        try:
            if call == "poll_events":
                producer.poll_events(5)
            elif call == "wait":
                batch.wait(5)
                producer.poll_events(0)
            else:
                getattr(producer, call)(5)
        except BaseException as exc:        # noqa: BLE001 - the test looks at it
            raised = exc
        seen = [exc for exc in seen + all_of(raised, []) if exc in mine] + [exc for exc in unraisable if exc in mine]
    interrupting = False
    producer.close(5)
    assert {id(exc) for exc in seen} == {id(exc) for exc in mine}


def test_a_flush_that_is_late_and_a_callback_that_raised(cluster, topic):
    mine, producer = ZeroDivisionError(), KafkaAsyncProducer(properties(cluster, QUIET, linger_ms=0), Manual)

    def callback(metadata, error):
        raise mine

    producer.send(ProducerRecord(topic, 0, value=b"v"))
    producer.flush(10)
    producer.send(ProducerRecord(topic, 0, value=b"v"), callback)
    wait_for(lambda: producer._ledger()["kept"])        # its report is here
    cluster.set_rtt(1, 10)
    producer.send(ProducerRecord(topic, 0, value=b"v"))
    with pytest.raises(BaseExceptionGroup) as caught:
        producer.flush(0.5)
    assert caught.value.exceptions[0] is mine and isinstance(caught.value.exceptions[1], TimeoutError)
    producer.close(0)


@pytest.mark.parametrize("call", ["body", "commit"])
def test_a_transactions_own_exception_stays_beside_those_of_callbacks(call, unraisable):
    from kafkapp.producer.transactions import Transaction
    mine = ZeroDivisionError()

    class Producer:
        def begin_transaction(self):
            pass

        def commit_transaction(self):
            raise KafkaException(kafkapp.Error(ErrorCode.RD_KAFKA_RESP_ERR__INCONSISTENT, transaction_requires_abort=True))

        def abort_transaction(self):
            raise mine

    with pytest.raises(LookupError if call == "body" else KafkaException), Transaction(Producer()):
        if call == "body":
            raise LookupError
    assert unraisable == [mine]


# -- tokens ------------------------------------------------------------------------------------------------------------

OAUTH = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "OAUTHBEARER"}
LATER = 4_000_000_000


class Loud(str):
    def encode(self, *args):
        raise AssertionError

    __str__ = __repr__ = __format__ = encode


class Number(float):
    pass


GOOD = {
    "two": ("token", LATER), "three": ("token", LATER, "me"), "four": ("token", LATER, "me", {"traceId": "1 2"}), "list": ["token", LATER],
    "none": ("token", float(LATER), None, None), "decimal": ("token", decimal.Decimal(LATER)), "subclasses": (Loud("token"), Number(LATER),
    Loud("me"), {Loud("a"): Loud("b")}), "letters": ("a.b-c_d~e+f/g=", LATER, "m\u00e9", {}),
}
BAD = {
    "None": (None, "NoneType"), "a token alone": ("token", "a value of type str"), "one": (("token",), "1 values"),
    "five": (("token", LATER, "me", {}, 1), "5 values"), "bytes": ((b"token", LATER), "token must be a str, not bytes"),
    "NUL": (("to\0ken", LATER), "token must not contain"), "line end": (("token\n", LATER), r"token must not contain '\n'"),
    "forged": (("token\x01auth=x", LATER), r"token must not contain '\x01'"), "not ASCII": (("t\u00f6ken", LATER), r"'\xf6'"),
    "surrogate": (("token\ud800", LATER), "token must not contain"), "empty": (("", LATER), "token is empty"),
    "NaN": (("token", float("nan")), "NaN"), "infinite": (("token", float("inf")), "9999"), "past": (("token", 1_000_000), "passed"),
    "negative": (("token", -1), "passed"), "milliseconds": (("token", time.time() * 1000 + 900_000), "seconds, not in milliseconds"),
    "huge": (("token", 10**400), "9999"), "bool": (("token", True), "bool"), "text": (("token", "4000000000"), "not str"),
    "datetime": (("token", datetime(2096, 1, 1, tzinfo=UTC)), "datetime; its timestamp() is"),
    "principal": (("token", LATER, 1), "principal must be a str, not int"), "principal NUL": (("token", LATER, "m\0e"), "principal"),
    "principal surrogate": (("token", LATER, "\ud800"), "principal"), "extensions": (("token", LATER, "me", "a=b"), "not str"),
    "pairs": (("token", LATER, "me", [("a", "b")]), "not list"), "extension int": (("token", LATER, "me", {"a": 1}), "not int"),
    "extension name": (("token", LATER, "me", {"a1": "b"}), "'1'"), "extension empty": (("token", LATER, "me", {"": "b"}), "called ''"),
    "extension auth": (("token", LATER, "me", {"auth": "b"}), "'auth'"), "extension NUL": (("token", LATER, "me", {"a": "b\0"}), "NUL"),
    "extension forged": (("token", LATER, "me", {"a": "b\x01auth=c"}), r"'\x01'"),
    "many": (("token", LATER, "me", {"a" * n: "b" for n in range(1, 34)}), "32"),
}


def error_text_of(answer, make=KafkaAsyncProducer):
    """What error_cb says of a token, None when librdkafka has taken it."""
    errors, asked = [], []

    def refresh(config):
        asked.append(config)
        return answer

    with make(properties(NOWHERE, OAUTH, {"oauthbearer_token_refresh_cb": refresh, "error_cb": errors.append,
                                          "log_cb": lambda *args: None})) as producer:
        end = time.monotonic() + 20
        while not errors:                       # with a token it tries to connect, and that fails
            assert time.monotonic() < end
            if make is KINDS["manual"]:
                producer.poll_events(0.01)
            time.sleep(0.005)
    assert asked
    return next((error.message for error in errors if error.code == ErrorCode.RD_KAFKA_RESP_ERR__AUTHENTICATION), None)


@needs("sasl_oauthbearer")
@pytest.mark.parametrize("name", GOOD)
def test_a_token_of_two_to_four_values(name, unraisable):
    assert error_text_of(GOOD[name]) is None and unraisable == []


@needs("sasl_oauthbearer")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_says_what_is_wrong_and_what_is_right(name, unraisable):
    answer, reason = BAD[name]
    reported = error_text_of(answer)
    exc, = unraisable
    assert isinstance(exc, ValueError) and str(exc) in reported
    assert reason in reported and "(token, expiry in seconds since the epoch[, principal[, extensions]])" in reported
    assert "token\\" not in reported and "b\\x01" not in reported, "the values are not shown"


@needs("sasl_oauthbearer")
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_reaches_every_producer(kind, unraisable):
    assert error_text_of(("token", LATER), KINDS[kind]) is None and unraisable == []


@needs("sasl_oauthbearer")
@pytest.mark.parametrize("kind", KINDS)
def test_oauthbearer_without_a_callback_is_refused(kind):
    with pytest.raises(ValueError, match=r"needs oauthbearer_token_refresh_cb.*oidc.*unsecure\.jwt=true"):
        KINDS[kind](properties(NOWHERE, OAUTH, QUIET))
    for more in {"sasl.mechanism": "oauthbearer"}, {"sasl.mechanisms": "OAuthBearer", "security.protocol": "sasl_ssl"}:
        with pytest.raises(ValueError, match="needs oauthbearer_token_refresh_cb"):
            KINDS[kind]({**properties(NOWHERE, QUIET), "security.protocol": "sasl_plaintext", **more})
    KINDS[kind](properties(NOWHERE, QUIET, {"sasl.mechanisms": "OAUTHBEARER"})).close(0)        # of no account: no SASL


@needs("sasl_oauthbearer")
@pytest.mark.parametrize("kind", KINDS)
def test_unsecured_tokens_are_librdkafkas_own_and_are_renewed(kind, unraisable):
    lines = []
    more = {"enable.sasl.oauthbearer.unsecure.jwt": True, "sasl.oauthbearer.config": "principal=me lifeSeconds=2",
            "debug": "security", "log_cb": lambda level, facility, message: lines.append(message)}
    if LIBRDKAFKA == (2, 0, 2):
        with pytest.raises(ValueError, match=r"unsecure\.jwt: this librdkafka cannot renew .* use oauthbearer_token_refresh_cb"):
            KINDS[kind](properties(NOWHERE, OAUTH, more, {"error_cb": lambda error: None}))
        return
    with KINDS[kind](properties(NOWHERE, OAUTH, more, {"error_cb": lambda error: None})) as producer:
        def renewed():
            if kind == "manual":
                producer.poll_events(0)
            return sum("Creating unsecured token" in line for line in lines) > 2

        wait_for(renewed, 20)
    assert unraisable == []


@needs("sasl_oauthbearer")
def test_unsecured_tokens_and_a_callback_exclude_each_other():
    with pytest.raises(ValueError, match="mutually exclusive"):
        KafkaAsyncProducer(properties(NOWHERE, OAUTH, QUIET, {"enable.sasl.oauthbearer.unsecure.jwt": True,
                                                              "oauthbearer_token_refresh_cb": print}))


@needs("oidc")
def test_a_callback_goes_before_oidc():
    asked = []

    def refresh(config):
        asked.append(config)
        return "token", LATER

    more = {"sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "me", "sasl.oauthbearer.client.secret": "secret",
            "sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:1/token", "oauthbearer_token_refresh_cb": refresh}
    with KafkaAsyncProducer(properties(NOWHERE, OAUTH, QUIET, more)):
        wait_for(lambda: asked)


# -- names and properties ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_id", ["\u00e9" * 100, "\U0001f600" * 60, "a" + "\u20ac" * 60, "x" * 300, "\u00e9"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_id_that_librdkafka_cuts(kind, client_id):
    with KINDS[kind](properties(NOWHERE, QUIET, client_id=client_id)) as producer:
        assert producer.client_id == client_id == producer.get_property("client.id")
        assert client_id[:30] in producer.name and producer.name in repr(producer)
        for thread in threading.enumerate():
            assert isinstance(thread.name, str)


def dump_of(given):
    """All properties of a producer of librdkafka's own, as it has them in force, by their names."""
    for name, kind in {"rd_kafka_conf_new": ctypes.c_void_p, "rd_kafka_topic_conf_new": ctypes.c_void_p,
                       "rd_kafka_new": ctypes.c_void_p, "rd_kafka_conf": ctypes.c_void_p,
                       "rd_kafka_conf_dump": ctypes.POINTER(ctypes.c_char_p),
                       "rd_kafka_topic_conf_dump": ctypes.POINTER(ctypes.c_char_p)}.items():
        getattr(LIBRARY, name).restype = kind
    conf, text = LIBRARY.rd_kafka_conf_new(), ctypes.create_string_buffer(512)
    for name, value in given.items():
        assert LIBRARY.rd_kafka_conf_set(ctypes.c_void_p(conf), name.encode(), value.encode(), text, 512) == 0, text.value
    rk = LIBRARY.rd_kafka_new(0, ctypes.c_void_p(conf), text, 512)
    assert rk, text.value
    conf, count = LIBRARY.rd_kafka_conf(ctypes.c_void_p(rk)), ctypes.c_size_t()
    names = []
    for dump, of in (LIBRARY.rd_kafka_conf_dump, conf), (LIBRARY.rd_kafka_topic_conf_dump, LIBRARY.rd_kafka_topic_conf_new()):
        pairs = dump(ctypes.c_void_p(of), ctypes.byref(count))
        names += [pairs[i].decode() for i in range(0, count.value, 2)]
    found = {}
    for name in names:
        value, size = ctypes.create_string_buffer(4096), ctypes.c_size_t(4096)
        if LIBRARY.rd_kafka_conf_get(ctypes.c_void_p(conf), name.encode(), value, ctypes.byref(size)) == 0:
            found[name] = value.value.decode()
    LIBRARY.rd_kafka_destroy(ctypes.c_void_p(rk))
    return found


# What the two differ in by what they are: callbacks, pointers and the events that kafkapp asks for.
OF_THE_CLIENT = {"enabled_events", "log.queue", "ssl.certificate.verify_cb", "client.id"}


@pytest.mark.parametrize("more", [
    {}, {"enable.idempotence": "true"}, {"transactional.id": "me"}, {"transactional.id": "me", "transaction.timeout.ms": "7000"},
    {"message.timeout.ms": "3"}, {"debug": "msg", "log_level": "0"}, {"topic.metadata.refresh.interval.ms": "1000"},
    {"acks": "1", "linger.ms": "0.5"}, {"client.software.name": "a b/c", "retry.backoff.ms": "77"},
    {"enable.idempotence": "true", "max.in.flight": "3", "message.timeout.ms": "0"},
], ids=str)
def test_get_property_gives_what_is_in_force(more):
    with KafkaAsyncProducer(properties(NOWHERE, QUIET, more), Manual) as producer:
        given = {name: value for name, value in producer.properties.items() if isinstance(value, str)}
        wanted = dump_of(given)
        assert len(wanted) > 100
        found = {name: producer.get_property(name) for name in wanted}
    assert {name: (found[name], value) for name, value in wanted.items()
            if found[name] != value and name not in OF_THE_CLIENT and not name.endswith(("_cb", "opaque", "_conf"))} == {}
    if "transactional.id" in more:
        assert found["message.timeout.ms"] == found["transaction.timeout.ms"]
    gc.collect()
    assert producer.get_property("message.timeout.ms") == found["message.timeout.ms"], "closed"


# -- code --------------------------------------------------------------------------------------------------------------

CODE = {"plugin.library.paths": "nothing", "ssl.engine.location": "/nowhere/engine.so", "ssl.engine.id": "x", "ssl.providers": "default",
        "sasl.kerberos.kinit.cmd": "touch x", "sasl.kerberos.principal": "me; touch x", "sasl.kerberos.keytab": 'x"$(touch x)'}


@pytest.mark.parametrize("name", CODE)
def test_a_property_that_loads_or_runs_code_is_refused(name, monkeypatch):
    for value in None, "", "0", "true":
        monkeypatch.delenv("KAFKAPP_ALLOW_CODE_LOADING", raising=False)
        if value is not None:
            monkeypatch.setenv("KAFKAPP_ALLOW_CODE_LOADING", value)
        with pytest.raises(ValueError, match=f"{name} is refused: .*KAFKAPP_ALLOW_CODE_LOADING=1") as caught:
            KafkaAsyncProducer(properties(NOWHERE, QUIET, {name: CODE[name]}))
        assert isinstance(caught.value, KafkaException)
    monkeypatch.setenv("KAFKAPP_ALLOW_CODE_LOADING", "1")
    try:
        KafkaAsyncProducer(properties(NOWHERE, QUIET, {name: CODE[name]})).close(0)
    except KafkaException as exc:
        assert "refused" not in str(exc), "librdkafka's own word"


def test_properties_of_kerberos_that_run_nothing(monkeypatch):
    monkeypatch.delenv("KAFKAPP_ALLOW_CODE_LOADING", raising=False)
    more = {"sasl.kerberos.principal": "kafka/host.example@EXAMPLE.COM", "sasl.kerberos.keytab": "/etc/my keys/a(1).keytab"}
    try:
        KafkaAsyncProducer(properties(NOWHERE, QUIET, more)).close(0)
    except KafkaException as exc:       # a librdkafka without Kerberos says so
        assert "refused" not in str(exc)
