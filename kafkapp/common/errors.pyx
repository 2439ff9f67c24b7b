"""Errors: librdkafka's error codes (ErrorCode), an error with its details (Error), its exception (KafkaException).

Nothing here blocks or calls user code.
"""
from enum import IntEnum

cimport cython
from cpython.number cimport PyNumber_Index
from cpython.unicode cimport PyUnicode_FromObject

from kafkapp._librdkafka.rdkafka cimport (
    RD_KAFKA_RESP_ERR__FATAL,
    RD_KAFKA_RESP_ERR__INVALID_ARG,
    RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
    RD_KAFKA_RESP_ERR__QUEUE_FULL,
    RD_KAFKA_RESP_ERR__TIMED_OUT,
    RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    rd_kafka_err2str,
    rd_kafka_err_desc,
    rd_kafka_error_code,
    rd_kafka_error_destroy,
    rd_kafka_error_is_fatal,
    rd_kafka_error_is_retriable,
    rd_kafka_error_string,
    rd_kafka_error_t,
    rd_kafka_error_txn_requires_abort,
    rd_kafka_fatal_error,
    rd_kafka_get_err_descs,
    rd_kafka_resp_err_t,
    rd_kafka_t,
)
from kafkapp.common.public_names cimport export_as

cdef enum:
    UNKNOWN_RETRIABLE = -1          # Error.retriable: neither true nor false


cdef str describe(int code):
    # Copied at once: librdkafka formats the text of an unknown code into a buffer that it reuses.
    return rd_kafka_err2str(<rd_kafka_resp_err_t>code).decode("utf-8", "replace")


cdef int check_code(object code) except? -1:
    try:
        code = PyNumber_Index(code)
    except TypeError:
        raise TypeError(f"code must be an ErrorCode or an int, not {type(code).__name__}") from None
    try:
        return <int>code
    except OverflowError:
        raise ValueError("code must fit into 32 bits: no error code of librdkafka is that large") from None


@cython.embedsignature(False)       # in the docstrings of a Python class it would stand as text
class ErrorCode(IntEnum):
    """The error codes of the linked librdkafka, under its own names, in full and without the prefix:
    `ErrorCode._QUEUE_FULL` is `ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL`.

    Negative codes are librdkafka's own (names with two underscores), positive ones come from the broker. Iteration and
    `len` show what the linked library knows; a code that it does not know becomes a member when it is looked up.

    Source: rd_kafka_get_err_descs().
    """

    __module__ = "kafkapp"

    @property
    def description(self):
        """The library's text for this code. Source: rd_kafka_err2str()."""
        return describe(self)

    @classmethod
    def _missing_(cls, value):
        if not isinstance(value, int) or not -2**31 <= value < 2**31:
            return None
        name = f"RD_KAFKA_RESP_ERR_{value}" if value >= 0 else f"RD_KAFKA_RESP_ERR__{-value}"
        return add_member(name, int(value))

    def __reduce_ex__(self, protocol):
        # By value: a name of a newer library must load where an older one is linked.
        return ErrorCode, (int(self),)


cdef dict MEMBERS = ErrorCode._member_map_
cdef dict MEMBER_OF_CODE = ErrorCode._value2member_map_


cdef object add_member(str name, int code):
    # enum itself takes several times as long for a member, at each import. setdefault is atomic: two threads that meet
    # the same unknown code get the same member.
    member = int.__new__(ErrorCode, code)
    fields = member.__dict__
    fields["_name_"] = fields["__name__"] = name
    fields["_value_"] = code
    fields["__objclass__"] = ErrorCode
    fields["_sort_order_"] = len(MEMBER_OF_CODE)
    member = MEMBER_OF_CODE.setdefault(code, member)
    type.__setattr__(ErrorCode, name, member)
    MEMBERS[name] = member
    return member


cdef int add_codes_of_library() except -1:
    cdef const rd_kafka_err_desc *descs
    cdef size_t count, i
    cdef list names = ErrorCode._member_names_
    rd_kafka_get_err_descs(&descs, &count)
    for i in range(count):
        if descs[i].name != NULL:       # an unused number
            name = "RD_KAFKA_RESP_ERR_" + descs[i].name.decode("ascii")
            alias = descs[i].name.decode("ascii")
            MEMBERS[alias] = add_member(name, descs[i].code)
            type.__setattr__(ErrorCode, alias, MEMBERS[alias])
            names.append(name)
    return 0


add_codes_of_library()


cdef object member_of(int code):
    member = MEMBER_OF_CODE.get(code)
    return ErrorCode(code) if member is None else member


@cython.final
cdef class Error:
    """Error(code=0, message=None, *, is_fatal=False, is_retriable=None, transaction_requires_abort=False)\n--\n
    One failure, or none: a code, and what librdkafka says about it. Immutable; false for no error.

    Args:
        code: an `ErrorCode` or its number.
        message: the details; None stands for the library's text for the code.
        is_fatal: the producer cannot go on and has to be closed.
        is_retriable: whether the same call may succeed when repeated; None: unknown, as for each record that failed.
        transaction_requires_abort: the transaction has to be aborted; the producer can go on.

    Raises:
        TypeError: the code is not an int, or the message not a str.
        ValueError: the code does not fit into 32 bits.

    Source: rd_kafka_error_t; kafka::Error.
    """

    def __cinit__(self, code=0, message=None, *, is_fatal=False, is_retriable=None, transaction_requires_abort=False):
        self.value = check_code(code)
        if message is not None:
            if not isinstance(message, str):
                raise TypeError(f"message must be a str or None, not {type(message).__name__}")
            self.text = PyUnicode_FromObject(message)
        self.fatal = bool(is_fatal)
        self.retriable = UNKNOWN_RETRIABLE if is_retriable is None else bool(is_retriable)
        self.requires_abort = bool(transaction_requires_abort)

    @property
    def code(self):
        """The `ErrorCode`. Source: rd_kafka_error_code(); Error::value."""
        return member_of(self.value)

    @property
    def message(self):
        """The details, else the library's text for the code. Source: rd_kafka_error_string(); Error::message."""
        return describe(self.value) if self.text is None else self.text

    @property
    def is_fatal(self):
        """The producer cannot go on and has to be closed. Source: rd_kafka_error_is_fatal(); Error::isFatal."""
        return bool(self.fatal)

    @property
    def is_retriable(self):
        """Whether the same call may succeed when repeated; None: unknown, as for each record that failed.

        Whether a record can be sent again, and may then be there twice, depends on its code: docs/guide/errors.md.

        Source: rd_kafka_error_is_retriable(); Error::isRetriable.
        """
        return None if self.retriable == UNKNOWN_RETRIABLE else bool(self.retriable)

    @property
    def transaction_requires_abort(self):
        """The transaction has to be aborted.

        Source: rd_kafka_error_txn_requires_abort(); Error::transactionRequiresAbort.
        """
        return bool(self.requires_abort)

    def __bool__(self):
        return self.value != 0

    cdef tuple key(self):
        return (self.value, self.message, self.fatal, self.retriable, self.requires_abort)

    def __eq__(self, other):
        return self.key() == (<Error>other).key() if isinstance(other, Error) else NotImplemented

    def __hash__(self):
        return hash(self.key())

    def __str__(self):
        cdef str description = describe(self.value)
        parts = [f"{description} [{self.value}]" + (" fatal" if self.fatal else "")]
        if self.requires_abort:
            parts.append("transaction-requires-abort")
        if self.retriable != UNKNOWN_RETRIABLE:
            parts.append("retriable" if self.retriable else "non-retriable")
        if self.text and self.text != description:
            parts.append(self.text)
        return " | ".join(parts)

    def __repr__(self):
        parts = [f"ErrorCode.{self.code.name}"]
        if self.text is not None:
            parts.append(repr(self.text))
        if self.fatal:
            parts.append("is_fatal=True")
        if self.retriable != UNKNOWN_RETRIABLE:
            parts.append(f"is_retriable={self.is_retriable}")
        if self.requires_abort:
            parts.append("transaction_requires_abort=True")
        return f"Error({', '.join(parts)})"

    def __reduce__(self):
        return _restore_error, (self.value, self.text, self.is_fatal, self.is_retriable,
                                self.transaction_requires_abort)


def _restore_error(code, message, is_fatal, is_retriable, transaction_requires_abort):
    """The `Error` that was pickled. Not for users."""
    return Error(code, message, is_fatal=is_fatal, is_retriable=is_retriable,
                 transaction_requires_abort=transaction_requires_abort)


export_as(Error, "kafkapp.Error")
_restore_error.__module__ = "kafkapp"       # pickles name it


@cython.embedsignature(False)       # as ErrorCode
class KafkaException(Exception):
    """A failure that librdkafka or the broker reported; `error` says which.

    It is also the built-in exception that fits: `BufferError` for a full queue, `TimeoutError` for a timeout,
    `ValueError` for an invalid argument or a message that is too large. `KafkaException(error)` creates that subclass.

    Args:
        error: an `Error`, or an `ErrorCode`.
        message: the details, when `error` is a code.

    Raises:
        TypeError: `error` is neither, or is an `Error` and a message is given too.

    Source: kafka::KafkaException.
    """

    __module__ = "kafkapp"

    # The error is only in args[0]: pickling, copying and comparing args just work, and OSError, which takes two
    # arguments for an errno and its text, never sees two.

    def __new__(cls, error, message=None):
        if not isinstance(error, Error):
            error = Error(error, message)
        elif message is not None:
            raise TypeError("message goes with an ErrorCode: an Error has its own")
        if cls is KafkaException:
            cls = class_for((<Error>error).value)
        return super(KafkaException, cls).__new__(cls, error)       # of cls: only OSError creates a TimeoutError

    def __init__(self, error, message=None):
        # Exception's own would set args to all arguments.
        pass

    @property
    def error(self):
        """The `Error`."""
        return self.args[0]

    def __str__(self):
        return str(self.args[0])


class KafkaBufferError(KafkaException, BufferError):
    """RD_KAFKA_RESP_ERR__QUEUE_FULL."""
    __module__ = "kafkapp"


class KafkaTimeoutError(KafkaException, TimeoutError):
    """RD_KAFKA_RESP_ERR__TIMED_OUT, __MSG_TIMED_OUT, __TIMED_OUT_QUEUE or RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT."""
    __module__ = "kafkapp"


class KafkaValueError(KafkaException, ValueError):
    """RD_KAFKA_RESP_ERR__INVALID_ARG or RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE."""
    __module__ = "kafkapp"


cdef object class_for(int code):
    if code == RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return KafkaBufferError
    if code in (RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
                RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT):
        return KafkaTimeoutError
    if code in (RD_KAFKA_RESP_ERR__INVALID_ARG, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE):
        return KafkaValueError
    return KafkaException


cdef object new_error(int code, str message=None, bint is_fatal=False):
    cdef Error error = Error.__new__(Error)
    error.value = code
    error.text = message
    error.fatal = is_fatal
    return error


cdef object new_fatal_error(rd_kafka_t *rk, int code, str message):
    """The Error of a record or an event, which carry no fatal flag: it is fatal if it is the client's fatal error."""
    cdef char reason[512]
    cdef int fatal = rd_kafka_fatal_error(rk, reason, sizeof(reason))
    if fatal and code in (fatal, RD_KAFKA_RESP_ERR__FATAL):
        return new_error(fatal, message or reason.decode("utf-8", "replace"), True)
    return new_error(code, message, code == RD_KAFKA_RESP_ERR__FATAL)


cdef object new_exception(int code, str message=None):
    return KafkaException(new_error(code, message))


cdef object take_error(rd_kafka_error_t *error):
    cdef Error taken
    if error == NULL:
        return None
    try:
        taken = Error.__new__(Error)
        taken.value = rd_kafka_error_code(error)
        taken.text = rd_kafka_error_string(error).decode("utf-8", "replace")
        taken.fatal = rd_kafka_error_is_fatal(error) != 0
        taken.retriable = rd_kafka_error_is_retriable(error) != 0
        taken.requires_abort = rd_kafka_error_txn_requires_abort(error) != 0
        return taken
    finally:
        rd_kafka_error_destroy(error)
