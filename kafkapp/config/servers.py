"""Check of `bootstrap.servers`: finds entries that librdkafka would drop or misread, which it only logs.

librdkafka's grammar (rd_kafka_brokers_add0, rd_kafka_broker_name_parse) is the same from 2.0.2 to 2.15.1: commas
separate; blanks before an entry and empty entries are skipped. An entry is
`[protocol://]host[:port][/path]`: another protocol than security.protocol ends the list there; the path is dropped; the
port is what atoi() makes of it, in 16 bits; several colons are an IPv6 address without a port, unless a `]` stands
before the last; no host is localhost; everything else goes to the resolver, at most 255 bytes.
"""
from __future__ import annotations

import re

MAX_SHOWN = 64              # characters of an entry in a message
MAX_ADDRESS = 255           # characters of host:port: the size of librdkafka's buffer
NAME = re.compile(r"[A-Za-z0-9._-]+")
ZONE = re.compile(r"[A-Za-z0-9._-]+")
PORT = re.compile(r"0*([1-9][0-9]{0,4})[ \t\n\v\f\r]*")     # what follows it is atoi's to skip
SEPARATORS = re.compile(r"[ \t\n\v\f\r;|]")


def misread(servers: str, protocol: str, canonical: bool) -> str:
    """What is wrong with the first entry that librdkafka would not use as written; empty if there is none.

    Args:
        servers: the value of bootstrap.servers.
        protocol: security.protocol.
        canonical: whether client.dns.lookup is resolve_canonical_bootstrap_servers_only.
    """
    for entry in servers.split(","):
        entry = entry.lstrip(" ")
        if entry and (reason := reason_against(entry, protocol.lower(), canonical)):
            return f"{shown(entry)} {reason}"
    return ""


def shown(entry: str) -> str:
    """An entry for a message, without user and password."""
    before, at, after = entry.rpartition("@")
    if at:
        entry = f"{before[:before.find('://') + 3] if '://' in before else ''}*@{after}"
    return repr(entry) if len(entry) <= MAX_SHOWN else f"{entry[:MAX_SHOWN]!r}..."


def reason_against(entry: str, protocol: str, canonical: bool) -> str:
    """Why an entry would be dropped or misread; empty if it would not."""
    scheme, separator, address = entry.partition("://")
    if not separator:
        address = entry
    elif scheme.lower() != protocol:
        return f"is not of the protocol that security.protocol says, {protocol}: change that, or leave it out here"
    else:
        address, _slash, path = address.partition("/")
        if path.strip():
            return "has a path: brokers have none"
    if "@" in address:
        return "has a user's name: that is sasl.username's and sasl.password's place"
    host, port = split_host_port(address)
    if port is not None:
        number = PORT.fullmatch(port)
        if number is None and SEPARATORS.search(address):
            return "is not one host and port: commas separate the entries, and nothing else"
        if number is None or int(number[1]) > 65535:
            return "has no port from 1 to 65535"
        port = number[1]
    return reason_against_host(host, port or "9092", canonical)


def split_host_port(address: str) -> tuple[str, str | None]:
    """Host and port, split at the colon where librdkafka splits them."""
    host, colon, port = address.rpartition(":")
    if colon and (":" not in host or host.endswith("]")):
        return host, port
    return address, None


def reason_against_host(host: str, port: str, canonical: bool) -> str:
    if not host:
        return "has no host"
    if SEPARATORS.search(host):
        return "is not one host and port: commas separate the entries, and nothing else"
    if len(host) + 1 + len(port) > MAX_ADDRESS:
        return f"is longer than {MAX_ADDRESS} characters"
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else ""
    if bare:
        return "" if is_ipv6(bare) else "has no IPv6 address in its brackets"
    if ":" in host:
        return reason_against_ipv6(host, canonical)
    if not host.isascii():
        return f"is not ASCII, and no resolver finds it{punycode(host)}"
    return "" if NAME.fullmatch(host) else "has no host's name or address"


def reason_against_ipv6(host: str, canonical: bool) -> str:
    """Why an IPv6 address without brackets is refused: librdkafka uses it as written, and appends a port to it."""
    start, _colon, last = host.rpartition(":")
    with_port = last.isascii() and last.isdigit() and is_ipv6(start)
    if with_port:       # the whole may be an address too, of another host
        return f"may end in a port or not: write [{start}]:{last} or [{host}]"
    if not is_ipv6(host):
        return "has no host's name or address, and a port needs one colon before it: host:port or [IPv6 address]:port"
    if host.endswith(":") or canonical:
        return f"needs brackets: [{host}]"
    return ""


def is_ipv6(text: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address
    address, percent, zone = text.partition("%")
    if percent and not ZONE.fullmatch(zone):
        return False
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True


def punycode(host: str) -> str:
    """A hint with the ASCII form that resolvers take, where there is one."""
    try:
        return f": write {host.encode('idna').decode()}"
    except UnicodeError:
        return ""
