"""Types of properties: the callbacks among them, and dicts of them for editors and type checkers.

The names and kinds are librdkafka's own table's, which tests/unit/test_typing.py compares. kafkapp itself imports this
module only for type checkers: `typing` is slow to import.
"""
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, TypedDict

from kafkapp.common.errors import Error


class LogCallback(Protocol):
    """`log_cb`: called with each line of librdkafka's log."""

    def __call__(self, level: int, facility: str, message: str, /) -> object:
        """`level`: syslog's, 0 (emergency) to 7 (debug)."""


class ErrorCallback(Protocol):
    """`error_cb`: called with errors of the client as a whole."""

    def __call__(self, error: Error, /) -> object:
        """`error.is_fatal`: the producer has to be replaced."""


class StatsCallback(Protocol):
    """`stats_cb`: called every `statistics.interval.ms`."""

    def __call__(self, json: str, /) -> object:
        """`json`: librdkafka's statistics, for `kafkapp.stats.Statistics`."""


Token: TypeAlias = (tuple[str, float] | tuple[str, float, str | None]
                    | tuple[str, float, str | None, Mapping[str, str] | None] | Sequence[object])


class TokenRefreshCallback(Protocol):
    """`oauthbearer_token_refresh_cb`: called when a token is needed, and before it expires."""

    def __call__(self, config: str, /) -> Token:
        """`config`: `sasl.oauthbearer.config`.

        Returns:
            (token, expiry in seconds since the epoch[, principal[, extensions]]).
        """


# Values may be text too, as they come from files and the environment.
Integer: TypeAlias = int | str
Number: TypeAlias = float | str
Boolean: TypeAlias = bool | str

ClientProperties = TypedDict("ClientProperties", {
    "log_cb": LogCallback,
    "error_cb": ErrorCallback,
    "stats_cb": StatsCallback,
    "oauthbearer_token_refresh_cb": TokenRefreshCallback,
    "client.id": str,
    "metadata.broker.list": str,
    "bootstrap.servers": str,
    "message.max.bytes": Integer,
    "message.copy.max.bytes": Integer,
    "receive.message.max.bytes": Integer,
    "max.in.flight.requests.per.connection": Integer,
    "max.in.flight": Integer,
    "metadata.recovery.strategy": str,
    "metadata.recovery.rebootstrap.trigger.ms": Integer,
    "topic.metadata.refresh.interval.ms": Integer,
    "metadata.max.age.ms": Integer,
    "topic.metadata.refresh.fast.interval.ms": Integer,
    "topic.metadata.refresh.fast.cnt": Integer,
    "topic.metadata.refresh.sparse": Boolean,
    "topic.metadata.propagation.max.ms": Integer,
    "topic.blacklist": str,
    "debug": str,
    "socket.timeout.ms": Integer,
    "socket.blocking.max.ms": Integer,
    "socket.send.buffer.bytes": Integer,
    "socket.receive.buffer.bytes": Integer,
    "socket.keepalive.enable": Boolean,
    "socket.nagle.disable": Boolean,
    "socket.max.fails": Integer,
    "broker.address.ttl": Integer,
    "broker.address.family": str,
    "socket.connection.setup.timeout.ms": Integer,
    "connections.max.idle.ms": Integer,
    "reconnect.backoff.jitter.ms": Integer,
    "reconnect.backoff.ms": Integer,
    "reconnect.backoff.max.ms": Integer,
    "statistics.interval.ms": Integer,
    "log_level": Integer,
    "log.queue": Boolean,
    "log.thread.name": Boolean,
    "enable.random.seed": Boolean,
    "log.connection.close": Boolean,
    "api.version.request": Boolean,
    "api.version.request.timeout.ms": Integer,
    "api.version.fallback.ms": Integer,
    "broker.version.fallback": str,
    "allow.auto.create.topics": Boolean,
    "security.protocol": str,
    "ssl.cipher.suites": str,
    "ssl.curves.list": str,
    "ssl.sigalgs.list": str,
    "ssl.key.location": str,
    "ssl.key.password": str,
    "ssl.key.pem": str,
    "ssl.certificate.location": str,
    "ssl.certificate.pem": str,
    "ssl.ca.location": str,
    "https.ca.location": str,
    "https.ca.pem": str,
    "ssl.ca.pem": str,
    "ssl.ca.certificate.stores": str,
    "ssl.crl.location": str,
    "ssl.keystore.location": str,
    "ssl.keystore.password": str,
    "ssl.providers": str,
    "ssl.engine.location": str,
    "ssl.engine.id": str,
    "enable.ssl.certificate.verification": Boolean,
    "ssl.endpoint.identification.algorithm": str,
    "sasl.mechanisms": str,
    "sasl.mechanism": str,
    "sasl.kerberos.service.name": str,
    "sasl.kerberos.principal": str,
    "sasl.kerberos.kinit.cmd": str,
    "sasl.kerberos.keytab": str,
    "sasl.kerberos.min.time.before.relogin": Integer,
    "sasl.username": str,
    "sasl.password": str,
    "sasl.oauthbearer.config": str,
    "enable.sasl.oauthbearer.unsecure.jwt": Boolean,
    "sasl.oauthbearer.method": str,
    "sasl.oauthbearer.client.id": str,
    "sasl.oauthbearer.client.credentials.client.id": str,
    "sasl.oauthbearer.client.credentials.client.secret": str,
    "sasl.oauthbearer.client.secret": str,
    "sasl.oauthbearer.scope": str,
    "sasl.oauthbearer.extensions": str,
    "sasl.oauthbearer.token.endpoint.url": str,
    "sasl.oauthbearer.sub.claim.name": str,
    "sasl.oauthbearer.grant.type": str,
    "sasl.oauthbearer.assertion.algorithm": str,
    "sasl.oauthbearer.assertion.private.key.file": str,
    "sasl.oauthbearer.assertion.private.key.passphrase": str,
    "sasl.oauthbearer.assertion.private.key.pem": str,
    "sasl.oauthbearer.assertion.file": str,
    "sasl.oauthbearer.assertion.claim.aud": str,
    "sasl.oauthbearer.assertion.claim.exp.seconds": Integer,
    "sasl.oauthbearer.assertion.claim.iss": str,
    "sasl.oauthbearer.assertion.claim.jti.include": Boolean,
    "sasl.oauthbearer.assertion.claim.nbf.seconds": Integer,
    "sasl.oauthbearer.assertion.claim.sub": str,
    "sasl.oauthbearer.assertion.jwt.template.file": str,
    "sasl.oauthbearer.metadata.authentication.type": str,
    "plugin.library.paths": str,
    "client.rack": str,
    "retry.backoff.ms": Integer,
    "retry.backoff.max.ms": Integer,
    "client.dns.lookup": str,
    "enable.metrics.push": Boolean,
}, total=False)
ClientProperties.__doc__ = "The properties that producers and consumers have."

OfProducers = TypedDict("OfProducers", {
    "transactional.id": str,
    "transaction.timeout.ms": Integer,
    "enable.idempotence": Boolean,
    "enable.gapless.guarantee": Boolean,
    "queue.buffering.max.messages": Integer,
    "queue.buffering.max.kbytes": Integer,
    "queue.buffering.max.ms": Number,
    "linger.ms": Number,
    "message.send.max.retries": Integer,
    "retries": Integer,
    "queue.buffering.backpressure.threshold": Integer,
    "compression.codec": str,
    "compression.type": str,
    "batch.num.messages": Integer,
    "batch.size": Integer,
    "delivery.report.only.error": Boolean,
    "sticky.partitioning.linger.ms": Integer,
    "request.required.acks": Integer,
    "acks": Integer,
    "request.timeout.ms": Integer,
    "message.timeout.ms": Integer,
    "delivery.timeout.ms": Integer,
    "queuing.strategy": str,
    "produce.offset.report": Boolean,
    "partitioner": str,
    "compression.level": Integer,
}, total=False)

OfConsumers = TypedDict("OfConsumers", {
    "group.id": str,
    "group.instance.id": str,
    "partition.assignment.strategy": str,
    "session.timeout.ms": Integer,
    "heartbeat.interval.ms": Integer,
    "group.protocol.type": str,
    "group.protocol": str,
    "group.remote.assignor": str,
    "coordinator.query.interval.ms": Integer,
    "max.poll.interval.ms": Integer,
    "max.pinned.bytes": Integer,
    "enable.auto.commit": Boolean,
    "auto.commit.interval.ms": Integer,
    "enable.auto.offset.store": Boolean,
    "queued.min.messages": Integer,
    "queued.max.messages.kbytes": Integer,
    "fetch.wait.max.ms": Integer,
    "fetch.queue.backoff.ms": Integer,
    "fetch.message.max.bytes": Integer,
    "max.partition.fetch.bytes": Integer,
    "fetch.max.bytes": Integer,
    "fetch.min.bytes": Integer,
    "fetch.error.backoff.ms": Integer,
    "offset.store.method": str,
    "isolation.level": str,
    "enable.partition.eof": Boolean,
    "check.crcs": Boolean,
    "max.poll.records": Integer,
    "share.acknowledgement.mode": str,
    "auto.commit.enable": Boolean,
    "auto.offset.reset": str,
    "offset.store.path": str,
    "offset.store.sync.interval.ms": Integer,
    "consume.callback.max.messages": Integer,
}, total=False)


class ProducerProperties(ClientProperties, OfProducers, total=False):
    """A dict of a producer's properties, which editors complete and type checkers check."""


class ConsumerProperties(ClientProperties, OfConsumers, total=False):
    """A dict of a consumer's properties, which editors complete and type checkers check."""


LogCallback.__module__ = ErrorCallback.__module__ = StatsCallback.__module__ = TokenRefreshCallback.__module__ = \
    ProducerProperties.__module__ = ConsumerProperties.__module__ = "kafkapp.typing"    # where they are exported
