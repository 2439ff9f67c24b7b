"""Properties: names and values as librdkafka spells them, checked when they are set.

Whether a property exists and takes a value is checked where the properties are applied. Nothing that is slow to import
is imported with the module; what only an error message needs is imported then.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from operator import index

from kafkapp.common.texts import check_text
from kafkapp.config.names import CALLBACKS, is_sensitive
from kafkapp.config.redaction import MASK, address_places, masked

TYPE_CHECKING = False       # typing is slow to import
if TYPE_CHECKING:
    from typing import Any, Self

NAME = "the name of a property"


def spelled(name: str, value: Any) -> str | Callable[..., object]:
    """The value as librdkafka spells it; a callback unchanged. No message shows the value: it may be a secret."""
    if name in CALLBACKS:
        if callable(value):
            callback: Callable[..., object] = value
            return callback
        raise TypeError(f"property {name} must be a callable, not {type(value).__name__}")
    if isinstance(value, str):
        return check_text(f"property {name}", value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value - value != 0:      # infinity or NaN
            raise ValueError(f"property {name} must be a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else float.__repr__(value)
    if callable(value):
        raise TypeError(f"property {name} takes no callable: {', '.join(sorted(CALLBACKS))} do")
    if hasattr(value, "__index__"):
        try:
            number = index(value)
        except TypeError:       # all NumPy arrays have an __index__, which raises for more than one item
            number = None
        if number is not None:
            if number.bit_length() > 64:
                raise ValueError(f"property {name} must fit into 64 bits: no number of librdkafka is larger")
            return int.__repr__(number)
    hint = "; leave the property out for its default" if value is None else ""
    raise TypeError(f"property {name} must be a str, int, float or bool, not {type(value).__name__}{hint}")


class Properties(MutableMapping[str, "Any"]):
    """The properties of a client: names to values as librdkafka spells them, and callbacks.

    Values are `str`, `int`, `float` or `bool` and are kept as strings; the callback properties (`log_cb`, `error_cb`,
    `stats_cb`, `oauthbearer_token_refresh_cb`) are callables. `properties[name]` gives the value; `str` and `repr` show
    secrets as `*`. Names that librdkafka does not know and values that it refuses raise when a client is created.

    Args:
        source: a mapping, or (name, value) pairs.

    Raises:
        TypeError: a name is not a str, or a value has a type that the property does not take.
        ValueError: a name or a value has a NUL or a lone surrogate, or a number is not finite.

    Source: kafka::Properties.
    """

    __module__ = "kafkapp"
    __slots__ = ("_values",)

    def __init__(self, source: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self._values: dict[str, str | Callable[..., object]] = {}
        if isinstance(source, Properties) or is_mapping(source):
            self._values = snapshot(source)
            return
        wrong = f"properties must be a mapping or (name, value) pairs, not {type(source).__name__}"
        if isinstance(source, (str, bytes)) or not isinstance(source, Iterable):
            raise TypeError(wrong)
        for pair in source:
            if isinstance(pair, (str, bytes)) or not isinstance(pair, Iterable):
                raise TypeError(wrong + f" of {type(pair).__name__}")
            name_and_value = tuple(pair)
            if len(name_and_value) != 2:
                raise TypeError(wrong + f" with {len(name_and_value)} items in one")
            self[name_and_value[0]] = name_and_value[1]

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        name = check_text(NAME, name)
        self._values[name] = spelled(name, value)

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def put(self, name: str, value: Any) -> Self:
        """Sets a property and returns these properties, for the next `put`. Source: Properties::put."""
        self[name] = value
        return self

    def get_property(self, name: str) -> str | Callable[..., object] | None:
        """The value of a property, None if it is not set. Source: Properties::getProperty."""
        return self._values.get(name)

    def erase_property(self, name: str) -> None:
        """Removes a property; does nothing if it is not set. Source: Properties::eraseProperty."""
        self._values.pop(name, None)

    def copy(self) -> Self:
        """Properties of the same class, names and values."""
        return type(self)(self)

    def __str__(self) -> str:
        return "|".join(f"{name}={value}" for name, value in sorted(self._shown()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self._shown())!r})"

    def _shown(self) -> list[tuple[str, str]]:
        shown = []
        for name, value in snapshot(self).items():
            if not isinstance(value, str):
                value = getattr(value, "__qualname__", None) or type(value).__qualname__
            elif is_sensitive(name):
                value = MASK
            else:
                value = masked(value, address_places(value))
            shown.append((name, value))
        return shown


class ClientConfig(Properties):
    """The names of properties that all clients have, as constants. Source: kafka::clients::Config."""

    __slots__ = ()

    BOOTSTRAP_SERVERS = "bootstrap.servers"
    CLIENT_ID = "client.id"
    LOG_LEVEL = "log_level"
    SOCKET_TIMEOUT_MS = "socket.timeout.ms"

    STATISTICS_INTERVAL_MS = "statistics.interval.ms"

    SECURITY_PROTOCOL = "security.protocol"
    SSL_CA_LOCATION = "ssl.ca.location"
    SSL_CA_PEM = "ssl.ca.pem"
    SSL_CERTIFICATE_LOCATION = "ssl.certificate.location"
    SSL_CERTIFICATE_PEM = "ssl.certificate.pem"
    SSL_KEY_LOCATION = "ssl.key.location"
    SSL_KEY_PEM = "ssl.key.pem"
    SSL_KEY_PASSWORD = "ssl.key.password"
    SSL_KEYSTORE_LOCATION = "ssl.keystore.location"
    SSL_KEYSTORE_PASSWORD = "ssl.keystore.password"
    SSL_CRL_LOCATION = "ssl.crl.location"
    SSL_CIPHER_SUITES = "ssl.cipher.suites"
    SSL_ENDPOINT_IDENTIFICATION_ALGORITHM = "ssl.endpoint.identification.algorithm"
    ENABLE_SSL_CERTIFICATE_VERIFICATION = "enable.ssl.certificate.verification"
    SASL_KERBEROS_KINIT_CMD = "sasl.kerberos.kinit.cmd"
    SASL_KERBEROS_SERVICE_NAME = "sasl.kerberos.service.name"
    SASL_KERBEROS_PRINCIPAL = "sasl.kerberos.principal"
    SASL_KERBEROS_KEYTAB = "sasl.kerberos.keytab"
    SASL_MECHANISM = "sasl.mechanisms"
    SASL_USERNAME = "sasl.username"
    SASL_PASSWORD = "sasl.password"
    SASL_OAUTHBEARER_METHOD = "sasl.oauthbearer.method"
    SASL_OAUTHBEARER_CLIENT_ID = "sasl.oauthbearer.client.id"
    SASL_OAUTHBEARER_CLIENT_SECRET = "sasl.oauthbearer.client.secret"
    SASL_OAUTHBEARER_EXTENSIONS = "sasl.oauthbearer.extensions"
    SASL_OAUTHBEARER_SCOPE = "sasl.oauthbearer.scope"
    SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL = "sasl.oauthbearer.token.endpoint.url"
    SASL_OAUTHBEARER_CONFIG = "sasl.oauthbearer.config"
    ENABLE_SASL_OAUTHBEARER_UNSECURE_JWT = "enable.sasl.oauthbearer.unsecure.jwt"

    LOG_CB = "log_cb"
    ERROR_CB = "error_cb"
    STATS_CB = "stats_cb"
    OAUTHBEARER_TOKEN_REFRESH_CB = "oauthbearer_token_refresh_cb"

    # For programs ported from C++. Refused when a producer is created: the first is EventsPollingOption here, the
    # second would run user code on librdkafka's threads.
    ENABLE_MANUAL_EVENTS_POLL = "enable.manual.events.poll"
    INTERCEPTORS = "interceptors"


class ProducerConfig(ClientConfig):
    """The properties of a producer, with constants for the names of the most common ones.

    Any other producer property of librdkafka is set under its own name, as a string. `kafkapp.typing` has a dict of
    all of them for type checkers, and the callbacks' signatures.

    Source: kafka::clients::producer::ProducerConfig.
    """

    __module__ = "kafkapp"
    __slots__ = ()

    ACKS = "acks"
    COMPRESSION_TYPE = "compression.type"
    COMPRESSION_LEVEL = "compression.level"
    QUEUE_BUFFERING_MAX_MESSAGES = "queue.buffering.max.messages"
    QUEUE_BUFFERING_MAX_KBYTES = "queue.buffering.max.kbytes"
    LINGER_MS = "linger.ms"
    BATCH_NUM_MESSAGES = "batch.num.messages"
    BATCH_SIZE = "batch.size"
    MESSAGE_MAX_BYTES = "message.max.bytes"
    MESSAGE_TIMEOUT_MS = "message.timeout.ms"
    REQUEST_TIMEOUT_MS = "request.timeout.ms"
    PARTITIONER = "partitioner"
    MAX_IN_FLIGHT = "max.in.flight"
    ENABLE_IDEMPOTENCE = "enable.idempotence"
    TRANSACTIONAL_ID = "transactional.id"
    TRANSACTION_TIMEOUT_MS = "transaction.timeout.ms"


class ConsumerConfig(ClientConfig):
    """The properties of a consumer, with constants for the names of the most common ones.

    Any other consumer property of librdkafka is set under its own name, as a string.

    Source: kafka::clients::consumer::ConsumerConfig.
    """

    __module__ = "kafkapp"
    __slots__ = ()

    GROUP_ID = "group.id"
    GROUP_INSTANCE_ID = "group.instance.id"
    GROUP_PROTOCOL = "group.protocol"
    ENABLE_AUTO_COMMIT = "enable.auto.commit"
    AUTO_COMMIT_INTERVAL_MS = "auto.commit.interval.ms"
    AUTO_OFFSET_RESET = "auto.offset.reset"
    ENABLE_PARTITION_EOF = "enable.partition.eof"
    FETCH_MAX_BYTES = "fetch.max.bytes"
    FETCH_MIN_BYTES = "fetch.min.bytes"
    FETCH_WAIT_MAX_MS = "fetch.wait.max.ms"
    MAX_PINNED_BYTES = "max.pinned.bytes"
    QUEUED_MIN_MESSAGES = "queued.min.messages"
    MAX_POLL_INTERVAL_MS = "max.poll.interval.ms"
    MAX_POLL_RECORDS = "max.poll.records"
    SESSION_TIMEOUT_MS = "session.timeout.ms"
    HEARTBEAT_INTERVAL_MS = "heartbeat.interval.ms"
    ISOLATION_LEVEL = "isolation.level"
    PARTITION_ASSIGNMENT_STRATEGY = "partition.assignment.strategy"


def is_mapping(source: object) -> bool:
    return isinstance(source, Mapping) or (hasattr(source, "keys") and hasattr(type(source), "__getitem__"))


def snapshot(properties: object) -> dict[str, str | Callable[..., object]]:
    """A checked copy of the properties, spelled as librdkafka spells them.

    Args:
        properties: a `Properties`, or a mapping of names to what a `Properties` takes.

    Raises:
        TypeError: it is not a mapping; or as in `Properties`.
        ValueError: as in `Properties`.
        Exception: whatever the mapping itself raises.
    """
    if isinstance(properties, Properties):
        return dict(properties._values)
    if not is_mapping(properties):
        raise TypeError("properties must be a Properties or a dict such as {'bootstrap.servers': 'host:9092'}, "
                        f"not {'None' if properties is None else type(properties).__name__}")
    source: Any = properties
    if type(source) is dict:
        source = source.copy()      # first: another thread may change it
    values = {}
    for key in list(source.keys()):
        name = check_text(NAME, key)
        values[name] = spelled(name, source[key])
    return values
