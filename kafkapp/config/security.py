"""Mistakes among the properties of TLS and SASL, in the names that were given.

librdkafka finds some of them when the client is created, and says so in OpenSSL's words; of others it says nothing.
What is wrong for certain is refused, what may be meant is warned of. No message shows a value that may be a secret.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from stat import S_ISDIR, S_ISREG

from kafkapp.config.names import is_sensitive

TYPE_CHECKING = False       # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

MECHANISMS = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI"
PEM = {"ssl.ca.pem": "CERTIFICATE", "https.ca.pem": "CERTIFICATE", "ssl.certificate.pem": "CERTIFICATE",
       "ssl.key.pem": "PRIVATE KEY"}
FILES = ("ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.crl.location")
FILES_OR_FOLDERS = ("ssl.ca.location", "https.ca.location")
CREDENTIALS = ("sasl.username", "sasl.password", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret")
CERTIFICATES = ("ssl.certificate.location", "ssl.certificate.pem")
KEYS = ("ssl.key.location", "ssl.key.pem")
STORES = ("ssl.keystore.location", "ssl.engine.location", "ssl.engine.id", "ssl.providers")   # bring both
BEGIN = "-----BEGIN "
BEGIN_IN_BASE64 = "LS0tLS1CRUdJTi"
MAX_SHOWN = 200             # characters of a path in a message


def mechanism_name(properties: Mapping[str, Any]) -> str:
    """The name under which the mechanism was given, or could be."""
    return "sasl.mechanism" if "sasl.mechanism" in properties else "sasl.mechanisms"


def contradiction(properties: Mapping[str, Any], protocol: str) -> str:
    """Why no client can come of these properties, or none that works; empty if nothing speaks against it.

    Args:
        properties: as `snapshot` gave them.
        protocol: the security.protocol in force.
    """
    if protocol.startswith("sasl") and (reason := against_sasl(properties)):
        return reason
    for name, value in properties.items():
        if (name.startswith("ssl.") and protocol.endswith("ssl")
                or name.startswith("https.") and protocol.startswith("sasl")):
            value = value.lstrip(" \t\n\v\f\r")       # as librdkafka strips it
            if name in PEM:
                reason = against_pem(name, value, "" if name in KEYS and "ssl.providers" in properties else PEM[name])
            elif value and (name in FILES or name in FILES_OR_FOLDERS and value != "probe"):
                reason = against_file(name, value)
            else:
                continue
            if reason:
                return reason
    return against_half_a_pair(properties) if protocol.endswith("ssl") else ""


def against_sasl(properties: Mapping[str, Any]) -> str:
    name = mechanism_name(properties)
    if name not in properties and not any(given.startswith("sasl.kerberos.") for given in properties):
        return f"security.protocol={properties['security.protocol'][:64]} needs sasl.mechanisms: {MECHANISMS}"
    if name in properties and not properties[name].strip():
        return f"{name} is empty; allowed: {MECHANISMS}"
    for name in CREDENTIALS:
        value = properties.get(name, "")
        if value.endswith(("\n", "\r")):
            return f"{name} ends in a line end, as files and secrets do: use .strip()"
    return ""


def against_pem(name: str, text: str, what: str) -> str:
    """Why the text is not the PEM that a property takes, of what is labelled `what`; empty: of anything."""
    if not text.strip():
        return f"{name} is empty: leave it out, or give it the text of a PEM file"
    if BEGIN not in text:
        if text.lstrip().startswith(BEGIN_IN_BASE64):
            return f"{name} is PEM in base64 once more: use base64.b64decode(...).decode()"
        return (f"{name} is not PEM text, which has a line {BEGIN}{what}-----; the path of a file is what "
                f"{name.removesuffix('pem')}location takes")
    labels = [part.partition("-----")[0] for part in text.split(BEGIN)[1:]]
    after = text.partition(BEGIN)[2].partition("-----")[2].lstrip(" \t")
    if after.startswith(("\\n", "\\r")):
        return (f"{name} has backslashes and the letter n where its line ends belong, as a variable of the environment "
                r"may: use .replace('\\n', '\n')")
    if after and after[0] not in "\r\n":
        return f"{name} has lost its line ends: each {BEGIN}...----- must be a line of its own"
    if not any(label.endswith(what) for label in labels):
        return f"{name} has no {what}, but {' and '.join(sorted({shown_label(label) for label in labels}))}"
    return ""


def shown_label(label: str) -> str:
    return label if len(label) < 32 and label.replace(" ", "").isalnum() and label.isupper() else "something else"


def against_file(name: str, path: str) -> str:
    """Why a file cannot be read, in the operating system's words."""
    if BEGIN in path:
        return f"{name} takes the path of a file; its text is what {name.removesuffix('location')}pem takes"
    reason = ""
    try:
        encoded = path.encode()             # as librdkafka has it, whatever the locale's encoding
        mode = os.stat(encoded).st_mode
        if S_ISDIR(mode):
            reason = "" if name in FILES_OR_FOLDERS else "Is a directory"
        elif S_ISREG(mode):                 # of a pipe librdkafka has to be the first reader
            os.close(os.open(encoded, os.O_RDONLY | os.O_CLOEXEC))      # access() would ask for the real user
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
    if not reason:
        return ""
    shown = "" if is_sensitive(name) else f": {path[:MAX_SHOWN]!r}"
    hint = ""
    if path != path.rstrip():
        hint = "; it ends in a blank or a line end: use .strip()"
    elif path.startswith("~"):
        hint = "; ~ is the shell's: use os.path.expanduser()"
    return f"{name}: {reason}{shown}{hint}"


def against_half_a_pair(properties: Mapping[str, Any]) -> str:
    """Why a certificate is of no use without its key, and a key without its certificate."""
    given = [name for name, value in properties.items() if name.startswith("ssl.") and value.strip()]
    if not any(name in STORES for name in given):
        certificates, keys = [name for name in CERTIFICATES if name in given], [name for name in KEYS if name in given]
        if certificates and not keys:
            return f"{certificates[0]} needs its key: {' or '.join(KEYS)}"
        if keys and not certificates:
            return f"{keys[0]} needs its certificate: {' or '.join(CERTIFICATES)}"
    return ""


def hint(text: str, properties: Mapping[str, Any]) -> str:
    """What librdkafka leaves out of the text with which it refuses to create a client; empty if nothing is known."""
    if text.startswith("Unsupported SASL mechanism"):
        return f"; {mechanism_name(properties)} allows: {MECHANISMS}"
    for name in (*FILES, *FILES_OR_FOLDERS, *PEM):
        if name not in properties:
            continue
        if f"{name} failed" in text or f"{name}: " in text:
            if name in KEYS and "ENCRYPTED" in key_text(name, properties[name]):
                return "; the key is encrypted, and ssl.key.password is " + (
                    "not the right one" if properties.get("ssl.key.password") else "not given")
            if name.endswith("location") and not is_sensitive(name) and properties[name] not in text:
                return f"; the file is {properties[name][:MAX_SHOWN]!r}"
    return ""


def key_text(name: str, value: str) -> str:
    if name.endswith("pem"):
        return value
    try:
        if not S_ISREG(os.stat(value).st_mode):
            return ""
        with open(value, encoding="ascii", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""


def doubts(properties: Mapping[str, Any], protocol: str, statistics_interval: str) -> Iterator[str]:
    """What has no effect as it was given, and is likely a mistake."""
    said = "" if "security.protocol" in properties else ", its default"
    tls = [name for name in properties if name.startswith("ssl.")]
    if tls and not protocol.endswith("ssl"):
        yield f"{', '.join(tls)}: no effect with security.protocol={protocol}{said}; with ssl and sasl_ssl it has one"
    sasl = [name for name in properties if name.startswith("sasl.") or name == "oauthbearer_token_refresh_cb"]
    if sasl and not protocol.startswith("sasl"):
        yield f"{', '.join(sasl)}: no effect with security.protocol={protocol}{said}; with sasl_ssl it has one"
    if protocol.endswith("ssl"):
        empty = [name for name in tls if name.endswith(".location") and not properties[name].strip()]
        if empty:
            yield f"{', '.join(empty)}: empty, which is as if not given"
    if "stats_cb" in properties and statistics_interval == "0":
        yield "stats_cb is never called while statistics.interval.ms is 0, its default"
