"""Names of properties: the callbacks, those whose values are secrets, and hints for misspelled ones."""
from __future__ import annotations

from collections.abc import Iterable

CALLBACKS = frozenset(("log_cb", "error_cb", "stats_cb", "oauthbearer_token_refresh_cb"))

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


def is_sensitive(name: str) -> bool:
    """Whether the values of a property are secrets that no text may show.

    Source: rdkafka_conf.c's sensitive properties; Properties::toString.
    """
    name = name.lower()
    if name in CALLBACKS:
        return False
    return (name in SENSITIVE or any(part in name for part in SENSITIVE_PARTS)
            or any(name.find(part, 1) > 0 for part in SENSITIVE_LATER))


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
