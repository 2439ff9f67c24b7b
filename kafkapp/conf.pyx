"""From properties to rd_kafka_conf_t: every bad one raises, with librdkafka's own reason.

Layer L3: knows librdkafka's configuration, no client.
"""
from kafkapp.config import CALLBACKS, ProducerConfig, redact, suggestion

from kafkapp.errors cimport new_exception
from kafkapp.librdkafka cimport *

cdef extern from "verify.h" nogil:
    int kp_verify_certificates(rd_kafka_conf_t *conf)

cdef extern from *:
    """
    #ifdef KAFKAPP_PATCHED_LIBRDKAFKA
    #define KP_PATCHED_LIBRDKAFKA 1
    #else
    #define KP_PATCHED_LIBRDKAFKA 0
    #endif
    """
    bint KP_PATCHED_LIBRDKAFKA

# What the binding itself answers for; librdkafka sees none of them.
OWN = ("delivery.report.only.error", "log.queue")
# Those whose values may have a fraction.
cdef tuple FRACTIONAL = ("linger.ms", "queue.buffering.max.ms")
# A process-wide signal handler, and code loaded into the process: not for a library to allow.
REFUSED = {
    "internal.termination.signal": "it installs a signal handler for the whole process",
    "plugin.library.paths": "it loads code into the process",
}


cdef object invalid(str text, properties):
    return new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, redact(text, properties))


cdef list known_names():
    """Every property that librdkafka knows. Its dump leaves out the aliases: the usual ones are in ProducerConfig."""
    cdef rd_kafka_conf_t *conf = rd_kafka_conf_new()
    cdef rd_kafka_topic_conf_t *topic_conf = rd_kafka_topic_conf_new()
    cdef size_t n = 0, i
    cdef const char **pairs = rd_kafka_conf_dump(conf, &n)
    names = [pairs[i].decode() for i in range(0, n, 2)]
    rd_kafka_conf_dump_free(pairs, n)
    pairs = rd_kafka_topic_conf_dump(topic_conf, &n)
    names += [pairs[i].decode() for i in range(0, n, 2)]
    rd_kafka_conf_dump_free(pairs, n)
    rd_kafka_conf_destroy(conf)
    rd_kafka_topic_conf_destroy(topic_conf)
    return names + [value for name, value in vars(ProducerConfig).items() if name.isupper()]


cdef int check_number(const rd_kafka_conf_t *conf, str name, str value, properties) except -1:
    """That librdkafka has not taken the first half of a value for a whole number: it reads 1 in 1.5, 5 in 5s."""
    if not value.strip()[:1] in tuple("+-.0123456789"):
        return 0                    # a word
    taken = conf_value(conf, NULL, name)
    if taken is None or taken == value or not taken.lstrip("-").isdecimal():
        return 0                    # text, true or false
    try:
        if name in FRACTIONAL:
            float(value)
            return 0
        if int(value, 0) == int(taken):
            return 0
    except ValueError:
        pass
    raise invalid(f"{name} must be a {'' if name in FRACTIONAL else 'whole '}number, not {value[:64]!r}", properties)


cdef int check_servers(str servers, properties) except -1:
    """librdkafka takes a port that is none for 0, and says so only in its log."""
    for server in servers.split(","):
        server = server.strip()
        _host, colon, port = server.rpartition("://")[2].rpartition(":")
        if not server or not colon or server.endswith("]"):
            continue
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise invalid(f"bootstrap.servers: {server!r} has no port from 1 to 65535", properties)
    return 0


cdef bint boolean(dict properties, str name, bint default) except -1:
    """The value of one of our own boolean properties, spelled as librdkafka's."""
    cdef str value = properties.get(name, "true" if default else "false")
    if value.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise invalid(f"expected true or false for {name}, not {value!r}", properties)
    return value.lower() in ("true", "t", "1")


cdef rd_kafka_conf_t *new_conf(dict properties) except NULL:
    """A configuration of all properties that are librdkafka's. The caller owns it."""
    cdef rd_kafka_conf_t *conf = rd_kafka_conf_new()
    cdef char errstr[512]
    cdef rd_kafka_conf_res_t result
    try:
        if not boolean(properties, "log.queue", True):
            raise invalid("log.queue must be true: no thread of librdkafka may enter Python", properties)
        for name, value in properties.items():
            if name in CALLBACKS or name in OWN:
                continue
            if name in REFUSED:
                raise invalid(f"{name} is refused: {REFUSED[name]}", properties)
            result = rd_kafka_conf_set(conf, name.encode(), value.encode(), errstr, sizeof(errstr))
            if result == RD_KAFKA_CONF_OK:
                check_number(conf, name, value, properties)
                continue
            text = errstr.decode("utf-8", "replace").strip()
            if name[:64] not in text:
                text = f"{name[:64]}: {text}"   # librdkafka speaks of queue.buffering.max.ms to who set linger.ms
            if result == RD_KAFKA_CONF_UNKNOWN:
                hint = suggestion(name, known_names() + list(CALLBACKS))
                text = f"{text}; {hint}" if hint else text
            elif "dedicated" in text:
                text += "; use send(record, callback)" if name in ("dr_cb", "dr_msg_cb") else ""
            raise invalid(text, properties)
        named = [name for name in ("bootstrap.servers", "metadata.broker.list") if name in properties]
        servers = properties[named[0]] if named else None
        if servers is None and "test.mock.num.brokers" not in properties:
            raise invalid("bootstrap.servers is required: host:port[,host:port...]", properties)
        if servers is not None:
            if not servers.strip(" ,"):
                raise invalid(f"{named[0]} is empty: host:port[,host:port...]", properties)
            check_servers(servers, properties)
        # Else nothing is refused, and a reason would be said of certificates that are taken.
        if conf_value(conf, NULL, "enable.ssl.certificate.verification") == "true":
            kp_verify_certificates(conf)
        # All that librdkafka has to say comes through the queue: none of its threads enters Python.
        rd_kafka_conf_set(conf, "log.queue", "true", errstr, sizeof(errstr))
        return conf
    except:
        rd_kafka_conf_destroy(conf)
        raise


cdef rd_kafka_conf_t *conf_in_force(rd_kafka_t *rk) except NULL:
    """A copy of a client's configuration that outlives it.

    rd_kafka_conf_dup() copies what was set, not what rd_kafka_new() made of it (max.in.flight with idempotence).
    """
    cdef char errstr[512]
    cdef const rd_kafka_conf_t *conf = rd_kafka_conf(rk)
    cdef rd_kafka_conf_t *copy = rd_kafka_conf_dup(conf)
    cdef size_t n = 0, i
    cdef const char **pairs = rd_kafka_conf_dump(copy, &n)
    copied = {pairs[i]: pairs[i + 1] for i in range(0, n, 2)}
    rd_kafka_conf_dump_free(pairs, n)
    pairs = rd_kafka_conf_dump(<rd_kafka_conf_t *>conf, &n)
    for i in range(0, n, 2):
        if copied.get(pairs[i]) != pairs[i + 1]:
            rd_kafka_conf_set(copy, pairs[i], pairs[i + 1], errstr, sizeof(errstr))
    rd_kafka_conf_dump_free(pairs, n)
    return copy


cdef object conf_value(const rd_kafka_conf_t *conf, const rd_kafka_topic_conf_t *topic_conf, str name):
    """A property's value in force, or None for one that librdkafka does not know."""
    cdef size_t size = 0
    cdef bytes key = name.encode("utf-8", "surrogatepass")
    cdef bytearray text
    if b"\0" in key:
        return None
    if rd_kafka_conf_get(conf, key, NULL, &size) == RD_KAFKA_CONF_OK:
        text = bytearray(size)
        rd_kafka_conf_get(conf, key, text, &size)
    elif topic_conf is not NULL and rd_kafka_topic_conf_get(topic_conf, key, NULL, &size) == RD_KAFKA_CONF_OK:
        text = bytearray(size)
        rd_kafka_topic_conf_get(topic_conf, key, text, &size)
    else:
        return None
    return text.rstrip(b"\0").decode("utf-8", "replace")


def librdkafka_version():
    """The version of the librdkafka in use, as text (`2.15.1`). Source: rd_kafka_version_str()."""
    return rd_kafka_version_str().decode()


def librdkafka_is_patched():
    """Whether it is kafkapp's own build, with the patches of csrc/patches."""
    return KP_PATCHED_LIBRDKAFKA


def librdkafka_features():
    """What the librdkafka in use was built with, sorted (`ssl`, `sasl_scram`, `zstd`, ...).

    Source: the property `builtin.features`.
    """
    cdef rd_kafka_conf_t *conf = rd_kafka_conf_new()
    try:
        return sorted(conf_value(conf, NULL, "builtin.features").split(","))
    finally:
        rd_kafka_conf_destroy(conf)
