"""kafkapp.config.properties: valid properties, the spelling of values, and no secret in any text.

The numbers of the bad inputs are those of the fault list's section on inputs.
"""
import collections
import copy
import ctypes
import enum
import functools
import pickle
from collections.abc import Mapping

import pytest

from helpers import LIBRDKAFKA

from kafkapp.common import errors
from kafkapp.config.names import CALLBACKS, is_sensitive, suggestion
from kafkapp.config.properties import ConsumerConfig, ProducerConfig, Properties, snapshot
from kafkapp.config.redaction import redact

LIBRARY = ctypes.CDLL(errors.__file__)      # its symbols include those of the librdkafka that it is linked to
LIBRARY.rd_kafka_conf_new.restype = ctypes.c_void_p

NAMES = {cls: {name: getattr(cls, name) for name in dir(cls) if name.isupper()} for cls in (ProducerConfig, ConsumerConfig)}
OF_CPP_ALONE = {"ENABLE_MANUAL_EVENTS_POLL"}


def on_log(level, facility, message):
    """A callback."""


# -- Properties --------------------------------------------------------------------------------------------------------

def test_put_get_and_erase():
    properties = Properties()
    assert properties.put("key2", "value2").put("key1", "value1") is properties
    assert str(properties) == "key1=value1|key2=value2" and len(properties) == 2
    assert properties.get_property("key1") == "value1" and properties.get_property("none") is None
    properties.erase_property("key1")
    properties.erase_property("none")
    assert dict(properties) == {"key2": "value2"} and "key1" not in properties
    properties["key2"] = "other"
    assert properties["key2"] == "other"
    del properties["key2"]
    assert not properties
    with pytest.raises(KeyError):
        properties["key2"]


@pytest.mark.parametrize("make", [dict, lambda source: list(source.items()), lambda source: iter(source.items()),
                                  Properties, ProducerConfig])
def test_sources_of_properties(make):
    source = {"linger.ms": "5", "acks": "all"}
    properties = Properties(make(source))
    assert dict(properties) == source and list(properties) == ["linger.ms", "acks"]


def test_copies_are_equal_and_independent():
    properties = ProducerConfig({"linger.ms": "5", "log_cb": on_log, "sasl.password": "hunter22"})
    for same in (properties.copy(), copy.copy(properties), copy.deepcopy(properties),
                 pickle.loads(pickle.dumps(properties))):
        assert same == properties and type(same) is ProducerConfig and same["sasl.password"] == "hunter22"
        assert same == Properties(properties) and same == dict(properties)
    same = properties.copy()
    same["linger.ms"] = "6"
    assert properties["linger.ms"] == "5" and same != properties
    assert Properties({"log_cb": on_log}) != Properties({"log_cb": print})


def test_producer_config_reads_as_in_cpp():
    properties = ProducerConfig({ProducerConfig.BOOTSTRAP_SERVERS: "127.0.0.1:9092", ProducerConfig.LINGER_MS: 20,
                                 ProducerConfig.ENABLE_IDEMPOTENCE: True})
    assert str(properties) == "bootstrap.servers=127.0.0.1:9092|enable.idempotence=true|linger.ms=20"


class Level(enum.IntEnum):
    HIGH = 6


class Text(str):
    def __str__(self):
        return "lie"

    def encode(self, *arguments):
        return b"lie"


@pytest.mark.parametrize(("value", "expected"), [
    ("x", "x"), ("", ""), (Text("truth"), "truth"), ("\u20ac", "\u20ac"),
    pytest.param(True, "true", id="14"), pytest.param(False, "false", id="14"), pytest.param(5, "5", id="15"),
    (-1, "-1"), (2**63, str(2**63)), (Level.HIGH, "6"), pytest.param(1.5, "1.5", id="16"), (5.0, "5"), (0.25, "0.25"),
    (1e300, "1e+300"),
])
def test_spelling_of_values(value, expected):
    spelled = Properties({"linger.ms": value})["linger.ms"]
    assert spelled == expected and type(spelled) is str
    assert snapshot({"linger.ms": value}) == {"linger.ms": expected}


def test_numbers_of_numpy():
    numpy = pytest.importorskip("numpy")
    assert dict(Properties({"a": numpy.int64(5), "b": numpy.float64(0.5)})) == {"a": "5", "b": "0.5"}


class NoIndex:
    """As NumPy's arrays of several items."""

    def __index__(self):
        raise TypeError("only integer scalar arrays can be converted to a scalar index")


BAD = [
    pytest.param({1: "x"}, TypeError, "name of a property must be a str, not int", id="11"),
    pytest.param({b"acks": "x"}, TypeError, "name of a property must be a str, not bytes", id="11-bytes"),
    pytest.param({"acks": None}, TypeError, "property acks must be .* not NoneType; leave", id="12"),
    pytest.param({"acks": [1]}, TypeError, "property acks must be .* not list", id="13"),
    pytest.param({"acks": b"1"}, TypeError, "property acks must be .* not bytes", id="13-bytes"),
    pytest.param({"acks": NoIndex()}, TypeError, "property acks must be .* not NoIndex", id="13-array"),
    pytest.param({"acks": float("nan")}, ValueError, "property acks must be a finite number", id="17-nan"),
    pytest.param({"acks": float("-inf")}, ValueError, "property acks must be a finite number", id="17-inf"),
    pytest.param({"acks": 10**5000}, ValueError, "property acks must fit into 64 bits", id="17-huge"),
    pytest.param({"acks": "a\0b"}, ValueError, "property acks must not contain a NUL", id="24"),
    pytest.param({"ac\0ks": "a"}, ValueError, "name of a property must not contain a NUL", id="24-name"),
    pytest.param({"acks": "\ud800"}, ValueError, "property acks must not contain a lone surrogate", id="25"),
    pytest.param({"\ud800": "a"}, ValueError, "name of a property must not contain a lone surrogate", id="25-name"),
    pytest.param({"log_cb": "print"}, TypeError, "property log_cb must be a callable, not str", id="26"),
    pytest.param({"error_cb": 5}, TypeError, "property error_cb must be a callable, not int", id="26-error"),
    pytest.param({"stats_cb": None}, TypeError, "property stats_cb must be a callable, not NoneType", id="26-none"),
    pytest.param({"oauthbearer_token_refresh_cb": []}, TypeError, "must be a callable, not list", id="26-token"),
    pytest.param({"dr_msg_cb": on_log}, TypeError, "property dr_msg_cb takes no callable: error_cb, log_cb", id="27"),
]


@pytest.mark.parametrize(("source", "kind", "text"), BAD)
def test_bad_properties_are_named(source, kind, text):
    (name, value), = source.items()
    for attempt in (lambda: Properties(source), lambda: Properties([(name, value)]), lambda: snapshot(source),
                    lambda: Properties().put(name, value), lambda: Properties().update(source)):
        with pytest.raises(kind, match=text):
            attempt()


@pytest.mark.parametrize("source", [None, "bootstrap.servers=x", b"x", 5, ["ab"], [("a", "b", "c")], [("a",)], [5]],
                         ids=repr)
def test_what_cannot_be_properties(source):
    with pytest.raises(TypeError, match="properties must be a mapping or .name, value. pairs"):
        Properties(source)


@pytest.mark.parametrize(("source", "said"), [
    pytest.param(None, "not None", id="2"), pytest.param("bootstrap.servers=x", "not str", id="3"),
    pytest.param([("a", "b")], "not list", id="3-pairs"), pytest.param(dict, "not type", id="3-class")])
def test_snapshot_says_what_would_do(source, said):
    with pytest.raises(TypeError, match=f"must be a Properties or a dict such as .*bootstrap.servers.*{said}$"):
        snapshot(source)


@pytest.mark.parametrize("make", [dict, Properties], ids=["37", "37-properties"])
def test_snapshot_is_independent(make):
    source = make({"linger.ms": "5", "log_cb": on_log})
    taken = snapshot(source)
    source["linger.ms"] = "6"
    source["acks"] = "1"
    assert taken == {"linger.ms": "5", "log_cb": on_log} and type(taken) is dict
    taken["acks"] = "0"
    assert source["acks"] == "1"


def test_37_mapping_changed_while_it_is_read():
    class Index:
        def __index__(self):
            change()
            return 5

    source = {"a": Index(), "b": "x", "c": "y"}
    change = source.clear
    assert snapshot(source) == {"a": "5", "b": "x", "c": "y"}
    source = collections.OrderedDict({"a": Index(), "b": "x"})
    change = functools.partial(source.update, new="n")
    assert snapshot(source) == {"a": "5", "b": "x"}


def test_38_exception_of_the_mapping():
    class Broken(Mapping):
        def __getitem__(self, name):
            raise LookupError("mine")

        def __iter__(self):
            return iter(["acks"])

        def __len__(self):
            return 1

    for take in (snapshot, Properties):
        with pytest.raises(LookupError, match="^mine$"):
            take(Broken())


def test_mapping_by_its_methods_alone():
    class Minimal:
        def keys(self):
            return ["acks"]

        def __getitem__(self, name):
            return 1

    assert snapshot(Minimal()) == dict(Properties(Minimal())) == {"acks": "1"}


# -- ProducerConfig, ConsumerConfig ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("config, count", [(ProducerConfig, 56), (ConsumerConfig, 58)])
def test_names_are_known_to_the_library(config, count):
    names, newer = NAMES[config], {"GROUP_PROTOCOL"} if LIBRDKAFKA < (2, 4) and config is ConsumerConfig else set()
    conf, text = ctypes.c_void_p(LIBRARY.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
    try:
        unknown = {name for name, dotted in names.items()       # -2: RD_KAFKA_CONF_UNKNOWN
                   if LIBRARY.rd_kafka_conf_set(conf, dotted.encode(), None, text, ctypes.c_size_t(512)) == -2}
    finally:
        LIBRARY.rd_kafka_conf_destroy(conf)
    own = {"MAX_PINNED_BYTES", *(["MAX_POLL_RECORDS"] if LIBRDKAFKA < (2, 15) else [])} if config is ConsumerConfig else set()
    assert unknown == OF_CPP_ALONE | newer | own
    assert len(names) == len(set(names.values())) == count
    assert {"SSL_CA_LOCATION", "SSL_CA_PEM", "SSL_KEY_PASSWORD", "SASL_PASSWORD"} <= set(names)
    assert ("COMPRESSION_TYPE" in names, "GROUP_ID" in names) == (config is ProducerConfig, config is ConsumerConfig)


@pytest.mark.parametrize("config", NAMES)
def test_constants_are_spelled_after_their_names(config):
    odd = {"LOG_LEVEL": "log_level", "SASL_MECHANISM": "sasl.mechanisms", **{name.upper(): name for name in CALLBACKS}}
    assert {name: odd.get(name, name.lower().replace("_", ".")) for name in NAMES[config]} == NAMES[config]


# -- secrets -----------------------------------------------------------------------------------------------------------

SECRET = [
    "ssl.key.location", "ssl.key.password", "ssl.key.pem", "ssl_key", "ssl.ca.pem", "ssl.keystore.password",
    "sasl.username", "sasl.password", "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.file", "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem", "ssl.certificate.pem", "https.ca.pem", "sasl.jaas.config",
    "some.username", "some.password", "somesecret", "somekey", "somepem", "SASL.PASSWORD", "some.api.token",
    "ssl.truststore.passphrase", "aws.credentials",
]
OPEN = ["bootstrap.servers", "client.id", "acks", "linger.ms", "ssl.ca.location", "security.protocol",
        "sasl.mechanisms", "partitioner", "transactional.id", "key1", "sasl.oauthbearer.scope", "log_cb",
        "oauthbearer_token_refresh_cb"]


@pytest.mark.parametrize("name", SECRET)
def test_secrets_are_masked_in_every_text_and_nowhere_else(name):
    assert is_sensitive(name)
    properties = Properties({name: "hunter22", "acks": "all"})
    assert properties[name] == properties.get_property(name) == snapshot(properties)[name] == "hunter22"
    assert dict(properties)[name] == "hunter22"
    for text in (str(properties), repr(properties), f"{properties}", repr([properties.copy()])):
        assert "hunter22" not in text and name in text and "all" in text
    assert f"{name}=*" in str(properties)


def test_the_rest_is_shown():
    assert [name for name in OPEN if is_sensitive(name)] == []
    properties = ProducerConfig({"acks": "all", "log_cb": on_log, "oauthbearer_token_refresh_cb": print})
    assert str(properties) == "acks=all|log_cb=on_log|oauthbearer_token_refresh_cb=print"
    assert repr(properties) == \
        "ProducerConfig({'acks': 'all', 'log_cb': 'on_log', 'oauthbearer_token_refresh_cb': 'print'})"


@pytest.mark.parametrize("value", [None, ["hunter22"], b"hunter22", "hunter22\0", "hunter22\ud800"], ids=repr)
def test_no_message_about_a_bad_value_shows_it(value):
    with pytest.raises((TypeError, ValueError)) as caught:
        Properties({"sasl.password": value})
    assert "sasl.password" in str(caught.value) and "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(("secret", "text", "expected"), [
    ("hunter22", 'Invalid value "hunter22" for x', 'Invalid value "*" for x'),
    ("hunter22", "hunter22hunter22", "*"),
    ("hunter22", "hunter2", "hunter2"),
    ("principal=admin secret=hunter22", 'Unrecognized beginning at: secret=hunter22', "Unrecognized beginning at:*"),
    ("0123456789" * 100, 'value "01234567890123', 'value "*'),
    ("abc", 'value "abc" of abcd', 'value "*" of abcd'),
    ("a", 'a value "a"', '* value "*"'),
    ("", "text", "text"),
    ("hunter22", "", ""),
])
def test_redact(secret, text, expected):
    properties = {"sasl.password": secret, "acks": "value", "log_cb": on_log}
    assert redact(text, properties) == redact(text, Properties(properties)) == expected


def test_redact_hides_each_of_several_secrets_and_nothing_open():
    properties = {"sasl.username": "admin", "sasl.password": "admin22", "client.id": "innocent"}
    assert redact("admin22 of admin in innocent", properties) == "* of * in innocent"


# -- help and cost -----------------------------------------------------------------------------------------------------

KNOWN = ["bootstrap.servers", "linger.ms", "log_level", "queue.buffering.max.ms", "ssl_key", "acks"]


@pytest.mark.parametrize(("name", "expected"), [
    pytest.param("bootstrap.server", "did you mean bootstrap.servers?", id="10"),
    ("bootstrap_servers", "did you mean bootstrap.servers?"), ("BOOTSTRAP.SERVERS", "did you mean bootstrap.servers?"),
    ("linger-ms", "did you mean linger.ms?"), ("lingerms", "did you mean linger.ms?"),
    ("log.level", "did you mean log_level?"),
    ("zzz", ""), ("", ""), pytest.param("bootstrap.servers" * 10_000, "", id="long"),
])
def test_suggestion(name, expected):
    assert suggestion(name, iter(KNOWN)) == expected
