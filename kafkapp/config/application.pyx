"""Configuration: applies properties to an rd_kafka_conf_t. Each bad property raises, with librdkafka's own reason."""
import os

from kafkapp.common.texts import one_line
from kafkapp.config.names import CALLBACKS, is_sensitive, suggestion
from kafkapp.config.redaction import redact

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_CONF_OK,
    RD_KAFKA_CONF_UNKNOWN,
    RD_KAFKA_RESP_ERR__INVALID_ARG,
    rd_kafka_conf,
    rd_kafka_conf_destroy,
    rd_kafka_conf_dump,
    rd_kafka_conf_dump_free,
    rd_kafka_conf_dup,
    rd_kafka_conf_enable_sasl_queue,
    rd_kafka_conf_get,
    rd_kafka_conf_new,
    rd_kafka_conf_res_t,
    rd_kafka_conf_set,
    rd_kafka_conf_set_oauthbearer_token_refresh_cb,
    rd_kafka_conf_t,
    rd_kafka_new,
    rd_kafka_t,
    rd_kafka_topic_conf_destroy,
    rd_kafka_topic_conf_dump,
    rd_kafka_topic_conf_new,
    rd_kafka_topic_conf_t,
    rd_kafka_type_t,
    rd_kafka_version_str,
)
from kafkapp.common.errors cimport new_exception

cdef extern from "verify.h" nogil:
    int kp_verify_certificates(rd_kafka_conf_t *conf)

cdef extern from "numbers.h" nogil:
    ctypedef struct locale_t:       # in fact a pointer
        pass
    locale_t kp_c_numbers_begin()
    void kp_c_numbers_end(locale_t own)

cdef extern from "thread_signals.h" nogil:
    void kp_unblock_fault_signals(rd_kafka_conf_t *conf)

cdef extern from "<stdio.h>" nogil:
    ctypedef struct FILE:
        pass
    FILE *open_memstream(char **text, size_t *size)
    int fclose(FILE *stream)

cdef extern from "<stdlib.h>" nogil:
    void free(void *memory)

cdef extern from "librdkafka/rdkafka.h" nogil:
    void rd_kafka_conf_properties_show(FILE *stream)

cdef extern from *:
    """
    #ifdef KAFKAPP_PATCHED_LIBRDKAFKA
    #define KP_PATCHED_LIBRDKAFKA 1
    #else
    #define KP_PATCHED_LIBRDKAFKA 0
    #endif
    """
    bint KP_PATCHED_LIBRDKAFKA

# Handled by kafkapp, with their defaults; librdkafka sees none of them.
OWN_PROPERTIES = {"delivery.report.only.error": "false", "log.queue": "true"}
# Those whose values may have a fraction.
cdef tuple FRACTIONAL = ("linger.ms", "queue.buffering.max.ms")
cdef tuple SERVER_LISTS = ("bootstrap.servers", "metadata.broker.list")     # the second is an alias of the first
cdef Py_ssize_t MAX_DIGITS = 19         # of INT64_MAX
cdef Py_ssize_t MAX_VALUE_BYTES = 65536     # of all values but keys and certificates
REFUSED_PROPERTIES = {"internal.termination.signal": "it installs a signal handler for the whole process"}
# The author of such a property can run code in this process. Only the process's environment may allow that.
cdef str ALLOW_CODE_VARIABLE = "KAFKAPP_ALLOW_CODE_LOADING"
cdef dict LOADS_CODE = {
    "plugin.library.paths": "it loads code into the process",
    "ssl.engine.location": "it loads code into the process",
    "ssl.engine.id": "it loads code into the process",
    "ssl.providers": "it loads code into the process",
    "sasl.kerberos.kinit.cmd": "it is run as a command of the shell",
}
# librdkafka's default sasl.kerberos.kinit.cmd contains these values, the first in double quotes.
cdef dict SHELL_CHARACTERS = {
    "sasl.kerberos.keytab": frozenset("\"\\`$!\n\r"),
    "sasl.kerberos.principal": frozenset("\"\\'`$&|;<>(){}*?![]~#\n\r\t "),
}

cdef bint unblocks_fault_signals = False


def let_faults_through():
    """Have librdkafka's threads of all clients created later unblock SIGBUS and SIGSEGV, so that their handlers run.

    For the command line. Does nothing before librdkafka 2.13.
    """
    global unblocks_fault_signals
    unblocks_fault_signals = True


cdef object invalid(str text, properties):
    return new_exception(RD_KAFKA_RESP_ERR__INVALID_ARG, one_line(redact(text, properties)))


def librdkafka_properties():
    """librdkafka's own table of properties, as text, which `config.table` takes apart.

    Takes a fraction of a millisecond: only for error messages and for the command.
    """
    cdef char *text = NULL
    cdef size_t size = 0
    cdef FILE *stream = open_memstream(&text, &size)
    if stream is NULL:
        raise MemoryError
    rd_kafka_conf_properties_show(stream)
    fclose(stream)
    try:
        return text[:size].decode("utf-8", "replace")
    finally:
        free(text)


cdef dict property_table():
    """The properties, with aliases: name to Row. Only for error messages."""
    from kafkapp.config.table import rows       # here: importing re takes a tenth of the import of kafkapp
    return rows(librdkafka_properties())


cdef list property_names(const rd_kafka_conf_t *conf):
    """The properties of a client and of its topics, without aliases."""
    cdef rd_kafka_topic_conf_t *topic_conf = rd_kafka_topic_conf_new()
    cdef size_t n = 0, i
    cdef const char **pairs = rd_kafka_conf_dump(<rd_kafka_conf_t *>conf, &n)
    names = [pairs[i].decode() for i in range(0, n, 2)]
    rd_kafka_conf_dump_free(pairs, n)
    pairs = rd_kafka_topic_conf_dump(topic_conf, &n)
    names += [pairs[i].decode() for i in range(0, n, 2)]
    rd_kafka_conf_dump_free(pairs, n)
    rd_kafka_topic_conf_destroy(topic_conf)
    return names


cdef int check_value(const rd_kafka_conf_t *conf, str name, str value, properties) except -1:
    """Raises when librdkafka has parsed a value as another one.

    It parses 1.5 as 1, 5s as 5, 1_000 as 1, "nan" as a number, and ignores an empty word.
    """
    if name in FRACTIONAL:
        try:
            if not set(value.strip()) - set("+-.0123456789eE"):     # float() takes 1_000 and nan as well
                float(value)
                return 0
        except ValueError:
            pass
        raise invalid(f"{name} must be a number, not {value[:64]!r}", properties)
    if not value.strip():
        table = property_table()
        if name in table and table[name].kind == "enum value":
            from kafkapp.config.table import allowed
            raise invalid(f"{name} is empty{allowed(name, table)}", properties)
        return 0
    if not value.strip()[:1] in tuple("+-.0123456789"):
        return 0                    # a word
    parsed = conf_value(conf, name)
    if parsed is None or parsed == value or not parsed.lstrip("-").isdecimal():
        return 0                    # text, true or false
    try:
        if int(value, 0) == int(parsed):
            return 0
    except ValueError:
        pass
    raise invalid(f"{name} must be a whole number, not {value[:64]!r}", properties)


cdef int check_servers(const rd_kafka_conf_t *conf, dict properties) except -1:
    """Raises when librdkafka would drop or misread an entry of bootstrap.servers."""
    named = [name for name in SERVER_LISTS if name in properties]
    if not named:
        if "test.mock.num.brokers" not in properties:
            raise invalid("bootstrap.servers is required: host:port[,host:port...]", properties)
        return 0
    if len(named) == 2 and properties[named[0]] != properties[named[1]]:
        raise invalid(f"{named[1]} is an alias of {named[0]}, and their values differ: set one of them", properties)
    if not properties[named[0]].strip(" ,"):
        raise invalid(f"{named[0]} is empty: host:port[,host:port...]", properties)
    from kafkapp.config.servers import misread     # here: importing re takes a tenth of the import of kafkapp
    canonical = conf_value(conf, "client.dns.lookup") == "resolve_canonical_bootstrap_servers_only"
    wrong = misread(conf_value(conf, "bootstrap.servers"), conf_value(conf, "security.protocol"), canonical)
    if wrong:
        raise invalid(f"{named[0]}: {wrong}", properties)
    return 0


cdef rd_kafka_conf_res_t set_value(rd_kafka_conf_t *conf, const char *name, const char *value, char *errstr,
                                   size_t size) noexcept:
    """rd_kafka_conf_set(), the same in every locale."""
    cdef locale_t before = kp_c_numbers_begin()
    cdef rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, errstr, size)
    kp_c_numbers_end(before)
    return result


cdef rd_kafka_conf_t *duplicate(const rd_kafka_conf_t *conf) noexcept:
    """rd_kafka_conf_dup(), which prints and parses numbers, the same in every locale."""
    cdef locale_t before = kp_c_numbers_begin()
    cdef rd_kafka_conf_t *copy = rd_kafka_conf_dup(conf)
    kp_c_numbers_end(before)
    return copy


cdef int check_code(str name, str value, properties) except -1:
    """Raises for a property that loads or runs code, unless the environment allows it."""
    if name in LOADS_CODE:
        reason = LOADS_CODE[name]
    elif name in SHELL_CHARACTERS and not SHELL_CHARACTERS[name].isdisjoint(value):
        reason = "it is part of a command of the shell, where some of its characters mean something"
    else:
        return 0
    if os.environ.get(ALLOW_CODE_VARIABLE) != "1":
        raise invalid(f"{name} is refused: {reason}; if the author of the properties may run code in this process, set "
                      f"{ALLOW_CODE_VARIABLE}=1 in its environment", properties)
    return 0


cdef int check_size(const rd_kafka_conf_t *conf, str name, str value, properties) except -1:
    """Raises for a value as long as a file: librdkafka copies some values to the stack."""
    size = len(value) if value.isascii() else len(value.encode())
    if (size > MAX_VALUE_BYTES and not name.endswith(".pem")
            and (name in property_table() or name in property_names(conf))):
        raise invalid(f"{name}: {size} bytes long, must be at most {MAX_VALUE_BYTES}", properties)
    return 0


cdef bint boolean(dict properties, str name, bint default) except -1:
    """The value of one of kafkapp's own boolean properties, spelled as librdkafka's."""
    cdef str value = properties.get(name, "true" if default else "false")
    if value.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise invalid(f"expected true or false for {name}, not {value[:64]!r}", properties)
    return value.lower() in ("true", "t", "1")


cdef int64_t whole_number(dict properties, str name, int64_t least, int64_t most) except -1:
    """The value of a property of which kafkapp takes the number."""
    cdef str value = properties[name].strip()
    if not (value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS and least <= int(value) <= most):
        raise invalid(f"{name} must be a whole number from {least} to {most}, not {value[:64]!r}", properties)
    return int(value)


cdef void never_called(rd_kafka_t *rk, const char *config, void *opaque) noexcept nogil:
    """A refresh callback: with one, librdkafka leaves tokens to the application. The refresh comes as an event."""


cdef bint set_up_tokens(rd_kafka_conf_t *conf, dict properties) except -1:
    """Set up who makes OAUTHBEARER tokens: the user's callback, or librdkafka, by an OIDC provider or unsecured. True
    for unsecured ones, for which the caller must enable the background queue."""
    cdef bint unsecured = False
    if "oauthbearer_token_refresh_cb" in properties:
        rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, never_called)
    elif (conf_value(conf, "sasl.mechanisms") or "").upper() == "OAUTHBEARER" and "sasl" in (
            conf_value(conf, "security.protocol") or ""):
        unsecured = conf_value(conf, "enable.sasl.oauthbearer.unsecure.jwt") == "true"
        if not unsecured and conf_value(conf, "sasl.oauthbearer.method") != "oidc":
            from kafkapp.config.security import mechanism_name
            raise invalid(f"{mechanism_name(properties)}=OAUTHBEARER needs oauthbearer_token_refresh_cb, "
                          "sasl.oauthbearer.method=oidc or, for tests only, "
                          "enable.sasl.oauthbearer.unsecure.jwt=true", properties)
    rd_kafka_conf_enable_sasl_queue(conf, unsecured)
    return unsecured


cdef str refused_value(str name, str value, str text, rd_kafka_conf_res_t result):
    """What rd_kafka_conf_set() says against a value, in the name that was given, with what would do."""
    from kafkapp.config.table import allowed, in_own_names
    table = property_table()
    if result == RD_KAFKA_CONF_UNKNOWN:
        close = suggestion(name, [*table, *CALLBACKS, *OWN_PROPERTIES])
        return f"{text}; {close}" if close else text
    text = in_own_names(text, {name: value}, table)
    if text.startswith("Invalid value for ") and not text.endswith(f": {value}") and not is_sensitive(name):
        text = f'Invalid value "{value[:64]}" for {text.removeprefix("Invalid value for ").removesuffix(": (null)")}'
    if name[:64] not in text:
        text = f"{name[:64]}: {text}"
    if "dedicated" in text:
        return text + ("; use send(record, callback)" if name in ("dr_cb", "dr_msg_cb") else "")
    return text + ("" if "allowed" in text or "true or false" in text else allowed(name, table))


cdef str refused_client(str text, dict properties):
    """What rd_kafka_new() says against a configuration, in the names that were given, with what may be wrong."""
    from kafkapp.config.security import hint
    from kafkapp.config.table import in_own_names
    return one_line(redact(in_own_names(text, properties, property_table()) + hint(text, properties), properties))


cdef int check_security(const rd_kafka_conf_t *conf, dict properties) except -1:
    """Raises for properties of TLS and SASL of which no client can come, or none that works."""
    cdef str protocol = conf_value(conf, "security.protocol")
    if protocol != "plaintext":
        from kafkapp.config.security import contradiction
        reason = contradiction(properties, protocol)
        if reason:
            raise invalid(reason, properties)
    return 0


cdef list doubtful(const rd_kafka_conf_t *conf, dict properties):
    """What has no effect as it was given, and is likely a mistake: a line each."""
    for name in properties:
        if name.startswith(("ssl.", "sasl.")) or name in CALLBACKS:
            from kafkapp.config.security import doubts
            return [*doubts(properties, conf_value(conf, "security.protocol"),
                            conf_value(conf, "statistics.interval.ms"))]
    return []


cdef rd_kafka_conf_t *new_conf(dict properties) except NULL:
    """A configuration with all properties that are librdkafka's. The caller must destroy it."""
    cdef rd_kafka_conf_t *conf = rd_kafka_conf_new()
    cdef char errstr[512]
    cdef rd_kafka_conf_res_t result
    try:
        if not boolean(properties, "log.queue", True):
            raise invalid("log.queue must be true: no thread of librdkafka may enter Python", properties)
        for name, value in properties.items():
            if name in CALLBACKS or name in OWN_PROPERTIES:
                continue
            if name in REFUSED_PROPERTIES:
                raise invalid(f"{name} is refused: {REFUSED_PROPERTIES[name]}", properties)
            check_code(name, value, properties)
            check_size(conf, name, value, properties)
            result = set_value(conf, name.encode(), value.encode(), errstr, sizeof(errstr))
            if result == RD_KAFKA_CONF_OK:
                check_value(conf, name, value, properties)
                continue
            raise invalid(refused_value(name, value, errstr.decode("utf-8", "replace").strip(), result), properties)
        check_servers(conf, properties)
        check_security(conf, properties)
        # Without verification librdkafka accepts every certificate, and the check would refuse some.
        if conf_value(conf, "enable.ssl.certificate.verification") == "true":
            kp_verify_certificates(conf)
        if unblocks_fault_signals:
            kp_unblock_fault_signals(conf)
        # Logs come through the queue: no thread of librdkafka enters Python.
        rd_kafka_conf_set(conf, "log.queue", "true", errstr, sizeof(errstr))
        return conf
    except:
        rd_kafka_conf_destroy(conf)
        raise


cdef rd_kafka_t *new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *errstr, size_t size) noexcept nogil:
    """rd_kafka_new(), the same in every locale: it prints the configuration, and the first of its unsecured tokens."""
    cdef locale_t before = kp_c_numbers_begin()
    cdef rd_kafka_t *rk = rd_kafka_new(type, conf, errstr, size)
    kp_c_numbers_end(before)
    return rk


cdef rd_kafka_conf_t *conf_in_force(rd_kafka_t *rk) except NULL:
    """A copy of a client's configuration that outlives it, with the properties of its topics.

    rd_kafka_conf_dup() copies what was set, not what rd_kafka_new() has adjusted (max.in.flight with idempotence,
    message.timeout.ms with a transactional.id).
    """
    cdef char errstr[512]
    cdef const rd_kafka_conf_t *conf = rd_kafka_conf(rk)
    cdef rd_kafka_conf_t *copy = duplicate(conf)
    cdef bytes key, text
    for name in property_names(conf):
        value = conf_value(conf, name)
        if conf_value(copy, name) != value:
            key, text = name.encode(), value.encode()
            set_value(copy, key, text, errstr, sizeof(errstr))
    return copy


cdef object conf_value(const rd_kafka_conf_t *conf, str name):
    """A property's value in force, or None for one that librdkafka does not know."""
    cdef size_t size = 0
    cdef bytes key = name.encode("utf-8", "surrogatepass")
    cdef bytes text
    if b"\0" in key:
        return None
    cdef locale_t before = kp_c_numbers_begin()
    try:
        if rd_kafka_conf_get(conf, key, NULL, &size) != RD_KAFKA_CONF_OK:
            return None
        text = PyBytes_FromStringAndSize(NULL, size)
        rd_kafka_conf_get(conf, key, text, &size)
    finally:
        kp_c_numbers_end(before)
    return (<const char *>text).decode("utf-8", "replace")


def librdkafka_version():
    """The version of the librdkafka in use, as text (`2.15.1`). Source: rd_kafka_version_str()."""
    return rd_kafka_version_str().decode()


def librdkafka_is_patched():
    """Whether the librdkafka in use is kafkapp's own build, with its patches."""
    return KP_PATCHED_LIBRDKAFKA


def librdkafka_features():
    """What the librdkafka in use was built with, sorted (`ssl`, `sasl_scram`, `zstd`, ...).

    Source: the property `builtin.features`.
    """
    cdef rd_kafka_conf_t *conf = rd_kafka_conf_new()
    try:
        return sorted(conf_value(conf, "builtin.features").split(","))
    finally:
        rd_kafka_conf_destroy(conf)


librdkafka_version.__module__ = librdkafka_features.__module__ = "kafkapp"
