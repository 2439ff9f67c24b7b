"""Configuration: properties as librdkafka spells them, and the secrets among them kept out of every text.

Layer L2: knows names and spellings, no client and no librdkafka: whether a property exists and whether a value suits it
is decided where the properties are applied. Imports nothing that costs time; what only a failure needs comes late.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from operator import index

TYPE_CHECKING = False       # typing's own would cost its import
if TYPE_CHECKING:
    from typing import Any, Self

CALLBACKS = frozenset(("log_cb", "error_cb", "stats_cb", "oauthbearer_token_refresh_cb"))

MASK = "*"

# What librdkafka keeps out of its own log.
SENSITIVE = frozenset((
    "ssl.key.location", "ssl.key.password", "ssl.key.pem", "ssl_key", "ssl.ca.pem", "ssl.keystore.password",
    "sasl.username", "sasl.password", "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.file", "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
))

# What else looks like a secret; covers what the C++ API masks, and names that a newer library may bring.
SENSITIVE_PARTS = ("pass", ".username", "secret", "token", "jaas", "credential", "assertion", "oauthbearer.config")
SENSITIVE_LATER = ("key", "pem")     # not at the start, as in the C++ API

PIECE = 8                   # so many characters of a secret in a row are a piece of it, where a value ends a text
LONG = 16                   # so many without a blank are no word: a piece wherever they stand
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
    Nothing else is hidden: a user who is called kafka does not make a broker's name unreadable.

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
            continue            # public, and full of the words of which reasons are made
        places += whole_places(secret, text)
        if len(secret) > PIECE:
            longer.append(secret)
    if longer:
        for start, end in possible_pieces(text, max(map(len, longer))):
            piece = text[start:end]
            if not is_word(piece.strip()) and any(is_part(piece, secret) for secret in longer):
                places.append((start, end))
    return masked(text, places)


def one_line(text: str) -> str:
    """The text with all that is not to be seen written out: it must not look like other lines, nor move the cursor."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text])


def masked(text: str, places: list[tuple[int, int]]) -> str:
    """The text with one mask for all that is hidden in a row."""
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
    """Where the text shows a secret, in whatever form, or a value that is in it."""
    places = []
    forms = {secret}
    if len(secret) <= len(text) and ("%" in text or "\\" in text):
        forms |= {"".join(c if c.isascii() and (c.isalnum() or c in "-._~" + keep) else quoted(c) for c in secret)
                  for keep in ("", "/")}
        forms.add(repr(secret)[1:-1])
    if "=" in secret and len(secret) < 4096:        # name=value pairs, of which one may be shown
        for pair in secret.replace(",", " ").replace(";", " ").split():
            value = pair.partition("=")[2].strip(QUOTES)
            if len(value) >= PIECE and not is_word(value):
                forms.add(value)
    for form in forms:
        places += form_places(form, text)
    return places


def quoted(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def is_word(secret: str) -> bool:
    """Whether it may stand in an innocent text, as a part of another word: only a value of its own is hidden then."""
    return len(secret) < PIECE or (len(secret) < LONG and secret.isalpha())


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
    """Whether a secret has the piece. It may be long: the rarest of characters are looked for first."""
    for character in " :,\"":
        if character in piece and character not in secret:
            return False
    return piece in secret


def possible_pieces(text: str, longest: int) -> list[tuple[int, int]]:
    """Where pieces of a secret may stand: longer words, and values at the text's end, where they may have been cut."""
    places = []
    end = len(text)
    for start in range(max(0, end - longest), end - PIECE + 1):
        if start == 0 or text[start - 1] in BEFORE_PIECE or text[start - 2:start] == ": ":
            places.append((start, end))
    start = 0
    for word in text.split():
        if len(word) < LONG:
            continue
        start = text.index(word, start)
        for part in word.split("\\n"):
            bare = part.strip(QUOTES + "()[]{}<>,;:")
            if len(bare) >= LONG:
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
    """The string itself, of type str proper, if C and UTF-8 can carry it."""
    text = str.__str__(text)        # a subclass may say what it likes in its own methods
    if "\0" in text:
        raise ValueError(f"{what} must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} must not contain a lone surrogate: UTF-8 has no form for it") from None
    return text


def check_name(name: object) -> str:
    """The name of a property, of type str proper."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a property must be a str, not {type(name).__name__}")
    return check_text("the name of a property", name)


def spelled(name: str, value: Any) -> str | Callable[..., object]:
    """The value as librdkafka spells it; a callback as it is. No message shows the value: it may be a secret."""
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
        if value - value != 0:      # true of infinities and NaN alone
            raise ValueError(f"property {name} must be a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else float.__repr__(value)
    if callable(value):
        raise TypeError(f"property {name} takes no callable: {', '.join(sorted(CALLBACKS))} do")
    if hasattr(value, "__index__"):
        try:
            number = index(value)
        except TypeError:       # all of NumPy's arrays have one, that of several items none that works
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
    secrets as `*`. Names that librdkafka does not know and values that it refuses are found when a client is made.

    Args:
        source: a mapping, or (name, value) pairs.

    Raises:
        TypeError: a name is no string, or a value is of a type that the property cannot have.
        ValueError: a name or a value holds what C strings or UTF-8 cannot, or a number is not finite.

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
        """Takes a property out; one that is not set is none. Source: Properties::eraseProperty."""
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
    """The properties of a producer, and the names of those that are set most.

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

    # For programs that are moved here from C++. Refused when a producer is made: the first is EventsPollingOption here,
    # the second would run user code on librdkafka's threads.
    ENABLE_MANUAL_EVENTS_POLL = "enable.manual.events.poll"
    INTERCEPTORS = "interceptors"


def is_mapping(source: object) -> bool:
    return isinstance(source, Mapping) or (hasattr(source, "keys") and hasattr(type(source), "__getitem__"))


def snapshot(properties: object) -> dict[str, str | Callable[..., object]]:
    """The properties as they are now: checked, spelled, and independent of what is done to the mapping afterwards.

    Args:
        properties: a `Properties`, or a mapping of names to what a `Properties` takes.

    Raises:
        TypeError: it is no mapping; or as in `Properties`.
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
        source = source.copy()      # at once: another thread may change it
    taken = {}
    for key in list(source.keys()):
        name = check_name(key)
        taken[name] = spelled(name, source[key])
    return taken


def suggestion(name: str, known_names: Iterable[str]) -> str:
    """What was probably meant: `did you mean bootstrap.servers?`, empty if nothing comes near.

    Args:
        name: a name that is no property.
        known_names: the names that are.
    """
    known = set(known_names)
    if len(name) > 2 * max(map(len, known), default=0):
        return ""       # nothing comes near, and to find that out takes seconds when a name is a file's contents
    wanted = name.strip().lower()
    for candidate in (wanted, wanted.replace("_", "."), wanted.replace("-", "."), wanted.replace(".", "_")):
        if candidate in known:
            return f"did you mean {candidate}?"
    from difflib import get_close_matches
    close = get_close_matches(wanted.replace("_", "."), sorted(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else ""
