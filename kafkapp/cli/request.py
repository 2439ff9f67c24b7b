"""What `kafkapp produce` is asked for: its parsed options, where the brokers are, and errors of use."""
import os
import re
from dataclasses import dataclass
from typing import Any

import click

from kafkapp import ErrorCode, KafkaException, ProducerConfig, SendOption
from kafkapp.cli.input import STDIN

SERVERS = (ProducerConfig.BOOTSTRAP_SERVERS, "metadata.broker.list", "test.mock.num.brokers")
ENVIRONMENT = "KAFKA_BOOTSTRAP_SERVERS"
UNREACHABLE = frozenset((
    ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT, ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT,
    ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, ErrorCode.RD_KAFKA_RESP_ERR__RESOLVE,
    ErrorCode.RD_KAFKA_RESP_ERR__AUTHENTICATION, ErrorCode.RD_KAFKA_RESP_ERR__SSL))


class Misuse(click.ClickException):
    """A usage error that is found after the options have been parsed."""

    exit_code = 2


@dataclass
class ProduceOptions:
    """The parsed options."""

    paths: tuple[str, ...]
    topic: str | None
    properties: dict[str, Any]
    embedded: bool
    mode: str
    option: SendOption
    form: str
    delimiter: bytes
    key_delimiter: bytes | None
    key: bytes | None
    key_field: str | None
    header_delimiter: bytes | None
    header_separators: tuple[bytes, bytes]
    column_separator: str
    null_marker: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None
    null_empty: bool
    count: int | None
    rate: float | None
    fail_fast: bool
    rejects: str | None
    tee: bool
    dry_run: bool
    timeout: float
    as_json: bool


def servers_of(properties: dict[str, Any]) -> str | None:
    """Where the brokers are: among the properties, to which those of the environment are added if there are none."""
    for name in SERVERS:
        if name in properties:
            return str(properties[name])
    if servers := os.environ.get(ENVIRONMENT):
        properties[ProducerConfig.BOOTSTRAP_SERVERS] = servers
    return servers or None


def require_servers(properties: dict[str, Any],
                    cure: str = "; --embedded sends to an embedded cluster, for a try") -> str:
    """As `servers_of`, which must not find none."""
    servers = servers_of(properties)
    if servers is None:
        raise Misuse(f"no brokers: name them by -b HOST:PORT or in the environment's {ENVIRONMENT}{cure}")
    return servers


def message_of(failure: BaseException) -> str:
    return failure.error.message if isinstance(failure, KafkaException) else str(failure)


def file_label(path: str) -> str:
    return "standard input" if path == STDIN else path


def topic_for(path: str) -> str:
    """A legal topic named after a file."""
    if path == STDIN:
        return "stdin"
    name = re.sub(r"[^a-zA-Z0-9._-]", "_", os.path.basename(path))[:249]
    return name if name.strip(".") else "_"
