"""Properties: names and values as librdkafka spells them, and redaction of the secrets among them.

Whether a property exists and takes a value is checked where the properties are applied. Nothing that is slow to import
is imported with the module; what only an error message needs is imported then.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from operator import index

TYPE_CHECKING = False       # typing is slow to import
if TYPE_CHECKING:
    from typing import Any, Self

CALLBACKS = frozenset(("log_cb", "error_cb", "stats_cb", "oauthbearer_token_refresh_cb"))

MASK = "*"

# What librdkafka keeps out of its own logs.
SENSITIVE = frozenset((
    "ssl.key.location", "ssl.key.password", "ssl.key.pem", "ssl_key", "ssl.ca.pem", "ssl.keystore.password",
    "sasl.username", "sasl.password", "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.file", "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
))

# What else looks like a secret: what the C++ API masks, and properties that a newer librdkafka may add.
SENSITIVE_PARTS = ("pass", ".username", "secret", "token", "jaas", "credential", "assertion", "oauthbearer.config")
SENSITIVE_LATER = ("key", "pem")     # not at the start, as in the C++ API

MIN_PIECE = 8               # characters of a secret in a row that are hidden at the end of a text, where it may be cut
MIN_NO_WORD = 16            # characters without a blank that are no word: hidden wherever they stand
QUOTES = "\"'`"
CERTIFICATES = ("ssl.ca.pem", "https.ca.pem", "ssl.certificate.pem")
BEFORE_VALUE = QUOTES + "(=[{<,;"
BEFORE_PIECE = BEFORE_VALUE + ":"
AFTER_VALUE = QUOTES + ")]}>,;"


def is_sensitive(name: str) -> bool:
    """Whether the values of a property are secrets that no text may show.

    Source: rdkafka_conf.c's sensitive properties; Properties::toString.
    """
    name = name.lower()
    if name in CALLBACKS:
        return False
    return (name in SENSITIVE or any(part in name for part in SENSITIVE_PARTS)
            or any(name.find(part, 1) > 0 for part in SENSITIVE_LATER))


def redact(text: str, properties: Mapping[str, Any]) -> str:
    """The text without the sensitive values among the properties, nor pieces of them, nor passwords in addresses.

    librdkafka puts values that it refuses into its error texts: whole, what follows the bad place, or what fits.
    Nothing else is hidden: with a user named kafka, the host kafka.example.com stays readable.

    Args:
        text: what librdkafka says.
        properties: a `Properties`, or what `snapshot` gave.
    """
    places = address_places(text)
    longer = []
    for name, secret in properties.items():
        if not isinstance(secret, str) or not secret or not is_sensitive(name):
            continue
        if name in CERTIFICATES and "-----BEGIN CERTIFICATE" in secret[:16384]:
            continue            # public, and full of words that error messages have too
        places += whole_places(secret, text)
        if len(secret) > MIN_PIECE:
            longer.append(secret)
    if longer:
        for start, end in possible_pieces(text, max(map(len, longer))):
            piece = text[start:end]
            if not is_word(piece.strip()) and any(is_part(piece, secret) for secret in longer):
                places.append((start, end))
    return masked(text, places)


def one_line(text: str) -> str:
    """The text with escapes for unprintable characters: it must not look like several lines, nor move the cursor."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text])


def masked(text: str, places: list[tuple[int, int]]) -> str:
    """The text with one mask for all adjacent hidden places."""
    if not places:
        return text
    kept: list[str] = []
    last = 0
    for start, end in sorted(places):
        if start > last or not kept:
            kept += [text[last:start], MASK]
        last = max(last, end)
    return "".join(kept) + text[last:]


def whole_places(secret: str, text: str) -> list[tuple[int, int]]:
    """Where the text shows a secret, in any form, or a value that is part of it."""
    places = []
    forms = {secret}
    if len(secret) <= len(text) and ("%" in text or "\\" in text):
        forms |= {"".join(c if c.isascii() and (c.isalnum() or c in "-._~" + keep) else quoted(c) for c in secret)
                  for keep in ("", "/")}
        forms.add(repr(secret)[1:-1])
    if "=" in secret and len(secret) < 4096:        # name=value pairs, of which one may be shown
        for pair in secret.replace(",", " ").replace(";", " ").split():
            value = pair.partition("=")[2].strip(QUOTES)
            if len(value) >= MIN_PIECE and not is_word(value):
                forms.add(value)
    for form in forms:
        places += form_places(form, text)
    return places


def quoted(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def is_word(secret: str) -> bool:
    """Whether it may be part of an innocent text: then it is hidden only where it stands by itself."""
    return len(secret) < MIN_PIECE or (len(secret) < MIN_NO_WORD and secret.isalpha())


def form_places(form: str, text: str) -> list[tuple[int, int]]:
    places = []
    word, size = is_word(form), len(form)
    start = text.find(form)
    while start >= 0:
        if not word or is_value(text, start, start + size):
            places.append((start, start + size))
        start = text.find(form, start + 1)
    return places


def is_value(text: str, start: int, end: int) -> bool:
    """Whether a part of the text stands by itself: not in a host's name, a path, a longer word."""
    before, after, beyond = text[start - 1:start], text[end:end + 1], text[end + 1:end + 2]
    if before and not before.isspace() and before not in BEFORE_VALUE:
        return False
    if after in (".", ":", "!", "?"):
        return not beyond or beyond.isspace()
    return not after or after.isspace() or after in AFTER_VALUE


def is_part(piece: str, secret: str) -> bool:
    """Whether a secret contains the piece. Both may be long: rare characters are compared first."""
    for character in " :,\"":
        if character in piece and character not in secret:
            return False
    return piece in secret


def possible_pieces(text: str, longest: int) -> list[tuple[int, int]]:
    """Where pieces of a secret may stand: longer words, and values at the text's end, where they may have been cut."""
    places = []
    end = len(text)
    for start in range(max(0, end - longest), end - MIN_PIECE + 1):
        if start == 0 or text[start - 1] in BEFORE_PIECE or text[start - 2:start] == ": ":
            places.append((start, end))
    start = 0
    for word in text.split():
        if len(word) < MIN_NO_WORD:
            continue
        start = text.index(word, start)
        for part in word.split("\\n"):
            bare = part.strip(QUOTES + "()[]{}<>,;:")
            if len(bare) >= MIN_NO_WORD:
                place = start + word.index(bare)
                places.append((place, place + len(bare)))
        start += len(word)
    return places


def address_places(text: str) -> list[tuple[int, int]]:
    """Where addresses have a user and a password: scheme://user:password@host."""
    places = []
    start = text.find("://")
    while start >= 0:
        start += 3
        rest = text[start:].split(maxsplit=1)[0] if text[start:start + 1].strip() else ""
        user, at, _host = rest.partition("/")[0].rpartition("@")
        if at and ":" in user:
            places.append((start, start + len(user)))
        start = text.find("://", start)
    return places


def check_text(what: str, text: str) -> str:
    """The string as an exact str. Raises ValueError when C or UTF-8 cannot represent it."""
    text = str.__str__(text)        # a subclass may override any method
    if "\0" in text:
        raise ValueError(f"{what} must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} must not contain a lone surrogate: UTF-8 has no form for it") from None
    return text


def check_name(name: object) -> str:
    """The name of a property, as an exact str."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a property must be a str, not {type(name).__name__}")
    return check_text("the name of a property", name)


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

    __slots__ = ("_values",)

    _values: dict[str, str | Callable[..., object]]

    def __init__(self, source: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self._values = {}
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
        name = check_name(name)
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


class ProducerConfig(Properties):
    """The properties of a producer, with constants for the names of the most common ones.

    Any other producer property of librdkafka is set under its own name, as a string.

    Source: kafka::clients::producer::ProducerConfig, kafka::clients::Config.
    """

    __slots__ = ()

    BOOTSTRAP_SERVERS = "bootstrap.servers"
    CLIENT_ID = "client.id"
    LOG_LEVEL = "log_level"
    SOCKET_TIMEOUT_MS = "socket.timeout.ms"

    ACKS = "acks"
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

    SECURITY_PROTOCOL = "security.protocol"
    SASL_KERBEROS_KINIT_CMD = "sasl.kerberos.kinit.cmd"
    SASL_KERBEROS_SERVICE_NAME = "sasl.kerberos.service.name"
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
        name = check_name(key)
        values[name] = spelled(name, source[key])
    return values


def suggestion(name: str, known_names: Iterable[str]) -> str:
    """A hint such as `did you mean bootstrap.servers?`, empty if no name is similar.

    Args:
        name: a name that is not a property.
        known_names: the names of all properties.
    """
    known = set(known_names)
    if len(name) > 2 * max(map(len, known), default=0):
        return ""       # none is similar, and finding that out takes seconds for a name as long as a file
    wanted = name.strip().lower()
    for candidate in (wanted, wanted.replace("_", "."), wanted.replace("-", "."), wanted.replace(".", "_")):
        if candidate in known:
            return f"did you mean {candidate}?"
    from difflib import get_close_matches
    close = get_close_matches(wanted.replace("_", "."), sorted(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else ""
