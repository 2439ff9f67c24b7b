"""kafkapp.common.errors: every code of the linked library, lossless errors, exceptions of the expected kind.

The C helpers are reached as sibling modules reach them: through the module's table of exported functions.
"""
import copy
import ctypes
import gc
import pickle
import re
import sys
from pathlib import Path

import pytest
from helpers import exported

from kafkapp.common import errors
from kafkapp.common.errors import Error, ErrorCode, KafkaBufferError, KafkaException, KafkaTimeoutError, KafkaValueError

LIBRARY = ctypes.CDLL(errors.__file__)      # its symbols include those of the librdkafka that it is linked to
LIBRARY.rd_kafka_err2str.restype = ctypes.c_char_p
for function in ("error_new", "conf_new", "new", "init_transactions", "begin_transaction", "commit_transaction",
                 "topic_new", "produceva"):
    getattr(LIBRARY, f"rd_kafka_{function}").restype = ctypes.c_void_p

QUEUE_FULL = ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
STATE = ErrorCode.RD_KAFKA_RESP_ERR__STATE

KINDS = [
    ("RD_KAFKA_RESP_ERR__QUEUE_FULL", KafkaBufferError, BufferError),
    ("RD_KAFKA_RESP_ERR__TIMED_OUT", KafkaTimeoutError, TimeoutError),
    ("RD_KAFKA_RESP_ERR__MSG_TIMED_OUT", KafkaTimeoutError, TimeoutError),
    ("RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE", KafkaTimeoutError, TimeoutError),
    ("RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT", KafkaTimeoutError, TimeoutError),
    ("RD_KAFKA_RESP_ERR__INVALID_ARG", KafkaValueError, ValueError),
    ("RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE", KafkaValueError, ValueError),
    ("RD_KAFKA_RESP_ERR__STATE", KafkaException, Exception),
]


take_error = exported(errors, "take_error", ctypes.py_object, ctypes.c_void_p)
new_error = exported(errors, "new_error", ctypes.py_object, ctypes.c_int, ctypes.c_void_p)
new_exception = exported(errors, "new_exception", ctypes.py_object, ctypes.c_int, ctypes.c_void_p)


def library_error(code, text):
    return LIBRARY.rd_kafka_error_new(ctypes.c_int(code), b"%s", text)


def test_codes_are_those_of_the_library():
    class Description(ctypes.Structure):
        _fields_ = [("code", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_char_p)]

    table, count = ctypes.POINTER(Description)(), ctypes.c_size_t()
    LIBRARY.rd_kafka_get_err_descs(ctypes.byref(table), ctypes.byref(count))
    expected = {f"RD_KAFKA_RESP_ERR_{table[i].name.decode()}": table[i].code
                for i in range(count.value) if table[i].name}
    assert len(expected) > 150
    assert {member.name: member.value for member in ErrorCode} == expected
    assert len(ErrorCode) == len(expected)
    assert QUEUE_FULL == -184 and ErrorCode(-184) is QUEUE_FULL and ErrorCode[QUEUE_FULL.name] is QUEUE_FULL
    for member in ErrorCode:
        assert member.description == LIBRARY.rd_kafka_err2str(member.value).decode()
        assert getattr(ErrorCode, member.name) is member and isinstance(member, ErrorCode)


def test_short_names():
    assert ErrorCode._QUEUE_FULL is ErrorCode["_QUEUE_FULL"] is QUEUE_FULL and QUEUE_FULL.name == "RD_KAFKA_RESP_ERR__QUEUE_FULL"
    for member in ErrorCode:
        assert getattr(ErrorCode, member.name.removeprefix("RD_KAFKA_RESP_ERR_")) is member


def test_stub_knows_every_code_of_the_library():
    stub = (Path(__file__).parents[2] / "kafkapp" / "common" / "errors.pyi").read_text(encoding="utf-8")
    codes = dict(re.findall(r"^    (RD_KAFKA_RESP_ERR_\w+) = (-?\d+)$", stub, re.MULTILINE))
    short = dict(re.findall(r"^    ((?!RD_KAFKA)\w+) = (-?\d+)$", stub, re.MULTILINE))
    assert codes == {f"RD_KAFKA_RESP_ERR_{name}": code for name, code in short.items()}
    assert {member.name: codes.get(member.name) for member in ErrorCode} == {m.name: str(m.value) for m in ErrorCode}


@pytest.mark.parametrize(("code", "name"), [(12345, "RD_KAFKA_RESP_ERR_12345"), (-12345, "RD_KAFKA_RESP_ERR__12345"),
                                            (2**31 - 1, f"RD_KAFKA_RESP_ERR_{2**31 - 1}")])
def test_unknown_code_becomes_a_member(code, name):
    known = len(ErrorCode)
    member = ErrorCode(code)
    assert member == code and member.value == code and member.name == name
    assert repr(member) == f"<ErrorCode.{name}: {code}>"
    assert ErrorCode(code) is member and getattr(ErrorCode, name) is member and ErrorCode[name] is member
    assert member in ErrorCode and member.description == f"Err-{code}?"
    assert pickle.loads(pickle.dumps(member)) is member and copy.deepcopy(member) is member
    assert len(ErrorCode) == known
    assert Error(code).code is member


def test_threads_that_race_for_an_unknown_code_get_one_member():
    # The loser has seen no member, and asks for one when the winner has added his.
    winner, loser = ErrorCode._missing_(20000), ErrorCode._missing_(20000)
    assert winner is loser is ErrorCode(20000) is ErrorCode["RD_KAFKA_RESP_ERR_20000"]


@pytest.mark.parametrize("value", ["RD_KAFKA_RESP_ERR__QUEUE_FULL", 2**31, -2**31 - 1, 0.5, None])
def test_what_is_no_code_is_refused(value):
    with pytest.raises(ValueError, match="ErrorCode"):
        ErrorCode(value)


def test_error_reads_as_in_cpp():
    assert str(Error(ErrorCode.RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT)) == "Broker: Request timed out [7]"
    assert str(Error(7, "something wrong here")) == "Broker: Request timed out [7] | something wrong here"
    assert str(Error(7, "Broker: Request timed out")) == "Broker: Request timed out [7]"
    full = Error(STATE, "why", is_fatal=True, is_retriable=False, transaction_requires_abort=True)
    assert str(full) == "Local: Erroneous state [-172] fatal | transaction-requires-abort | non-retriable | why"
    assert str(Error(STATE, is_retriable=True)) == "Local: Erroneous state [-172] | retriable"
    assert eval(repr(full)) == full and repr(Error(STATE, "why")) == "Error(ErrorCode.RD_KAFKA_RESP_ERR__STATE, 'why')"


def test_error_parts_and_defaults():
    error = Error(STATE)
    assert error.code is STATE and error.message == "Local: Erroneous state"
    assert (error.is_fatal, error.is_retriable, error.transaction_requires_abort) == (False, None, False)
    error = Error(-172, "", is_fatal=True, is_retriable=True, transaction_requires_abort=True)
    assert error.code is STATE and error.message == ""
    assert (error.is_fatal, error.is_retriable, error.transaction_requires_abort) == (True, True, True)


def test_no_error_is_false():
    assert not Error() and not Error(0, "text") and Error().code is ErrorCode.RD_KAFKA_RESP_ERR_NO_ERROR
    assert Error().message == "Success" and Error(1) and Error(-1)


VARIANTS = [Error(7), Error(7, "x"), Error(6), Error(7, is_fatal=True), Error(7, is_retriable=True),
            Error(7, is_retriable=False), Error(7, transaction_requires_abort=True)]


@pytest.mark.parametrize("error", VARIANTS, ids=repr)
def test_equal_is_what_has_equal_parts(error):
    assert [other == error for other in VARIANTS].count(True) == 1 and error != 7 and error != "x"
    for same in (copy.copy(error), copy.deepcopy(error), *(pickle.loads(pickle.dumps(error, p)) for p in range(6))):
        assert same == error and hash(same) == hash(error) and repr(same) == repr(error)


def test_error_is_immutable():
    error = Error(7, "x")
    for name in ("code", "message", "is_fatal", "is_retriable", "transaction_requires_abort", "new"):
        with pytest.raises(AttributeError):
            setattr(error, name, 1)
    error.__init__(6, "y")      # has no effect
    assert error == Error(7, "x")


@pytest.mark.parametrize("make", [Error, KafkaException])
@pytest.mark.parametrize(("arguments", "kind", "text"), [
    (("7",), TypeError, "code must be an ErrorCode or an int, not str"), ((None,), TypeError, "code must"),
    ((7.0,), TypeError, "code must"), ((2**31,), ValueError, "32 bits"),
    ((7, b"x"), TypeError, "message must be a str"),
])
def test_bad_argument_is_named(make, arguments, kind, text):
    with pytest.raises(kind, match=text):
        make(*arguments)


@pytest.mark.parametrize(("name", "own", "builtin"), KINDS)
def test_exception_is_of_the_kind_one_expects(name, own, builtin):
    error = Error(ErrorCode[name], "details 42", is_retriable=True)
    for kind in (KafkaException, own, builtin):
        with pytest.raises(kind) as caught:
            raise KafkaException(error)
        assert type(caught.value) is own
    exception = caught.value
    for same in (exception, copy.copy(exception), copy.deepcopy(exception),
                 *(pickle.loads(pickle.dumps(exception, p)) for p in range(6))):
        assert type(same) is own and same.error == error and same.args == (error,)
        assert str(same) == str(error) and repr(same) == f"{own.__name__}({error!r})"
        assert getattr(same, "errno", None) is None and getattr(same, "strerror", None) is None
    with_message = KafkaException(ErrorCode[name], "details 42")
    assert with_message.error == Error(ErrorCode[name], "details 42") and with_message.args == (with_message.error,)


def test_only_the_listed_codes_have_a_kind_of_their_own():
    listed = {name for name, own, _ in KINDS if own is not KafkaException}
    assert {code.name for code in ErrorCode if type(KafkaException(code)) is not KafkaException} == listed


def test_notes_and_attributes_survive_pickling():
    exception = KafkaException(QUEUE_FULL)
    exception.add_note("note")
    exception.extra = 5
    restored = pickle.loads(pickle.dumps(exception))
    assert restored.__notes__ == ["note"] and restored.extra == 5 and restored.error == exception.error


def test_subclasses_of_users_stay_what_they_are():
    class Mine(KafkaException):
        def __init__(self, error, message=None):
            super().__init__(error, message)
            self.seen = message

    exception = Mine(QUEUE_FULL, "why")
    assert type(exception) is Mine and exception.seen == "why" and exception.error == Error(QUEUE_FULL, "why")


def test_message_goes_with_a_code_only():
    with pytest.raises(TypeError, match="message goes with an ErrorCode"):
        KafkaException(Error(7), "x")
    with pytest.raises(TypeError):
        KafkaException()


def growth(step, count):
    """Bytes that each call of step leaves behind, on malloc's heap or in Python's blocks."""
    class Mallinfo(ctypes.Structure):
        _fields_ = [(field, ctypes.c_size_t) for field in
                    ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "used", "free", "keepcost")]

    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo

    def used():
        gc.collect()
        return mallinfo().used + 64 * sys.getallocatedblocks()

    for _ in range(2000):
        step()
    before = used()
    for _ in range(count):
        step()
    return (used() - before) / count


def test_raising_leaks_nothing():
    def fail():
        for code in (-184, -185, 10, 3):
            try:
                raise KafkaException(Error(code, f"text of {code}"))
            except KafkaException as exception:
                str(exception)
                repr(exception.error)

    assert growth(fail, 10000) < 4


def test_new_error_and_new_exception():
    assert new_error(-172, None) == Error(STATE) and new_error(-172, None).is_retriable is None
    for name, own, _ in KINDS:
        exception = new_exception(ErrorCode[name], None)
        assert type(exception) is own and exception.error == Error(ErrorCode[name])


def test_take_error_keeps_the_text():
    assert take_error(None) is None
    error = take_error(library_error(-172, b"caf\xc3\xa9 \xff"))
    assert error.code is STATE and error.message == "caf\xe9 \ufffd"
    assert (error.is_fatal, error.is_retriable, error.transaction_requires_abort) == (False, False, False)


def test_take_error_destroys_its_argument():
    assert growth(lambda: take_error(library_error(-172, b"x" * 200)), 10000) < 4


@pytest.fixture
def transactional():
    """A transactional producer of the bare library, with an embedded broker."""
    conf, text = ctypes.c_void_p(LIBRARY.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
    for name, value in ((b"transactional.id", b"t"), (b"test.mock.num.brokers", b"1"), (b"log_level", b"0")):
        assert LIBRARY.rd_kafka_conf_set(conf, name, value, text, ctypes.c_size_t(512)) == 0, text.value
    handle = ctypes.c_void_p(LIBRARY.rd_kafka_new(0, conf, text, ctypes.c_size_t(512)))
    assert handle, text.value
    yield handle
    LIBRARY.rd_kafka_destroy(handle)


def test_take_error_keeps_retriable_and_requires_abort(transactional):
    # No time at all: with one millisecond the embedded broker is at times quick enough.
    early = take_error(LIBRARY.rd_kafka_init_transactions(transactional, 0))
    assert early.is_retriable is True and early.code is ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
    assert take_error(LIBRARY.rd_kafka_init_transactions(transactional, 10000)) is None
    assert take_error(LIBRARY.rd_kafka_begin_transaction(transactional)) is None
    topic = ctypes.c_void_p(LIBRARY.rd_kafka_topic_new(transactional, b"t", None))
    # A record of the transaction that is purged is what makes librdkafka demand the abort.
    assert LIBRARY.rd_kafka_produce(topic, 0, 2, b"v", ctypes.c_size_t(1), None, ctypes.c_size_t(0), None) == 0
    LIBRARY.rd_kafka_topic_destroy(topic)
    assert LIBRARY.rd_kafka_purge(transactional, 1) == 0
    LIBRARY.rd_kafka_flush(transactional, 10000)
    error = take_error(LIBRARY.rd_kafka_commit_transaction(transactional, 10000))
    assert error.transaction_requires_abort is True and not error.is_fatal
    assert pickle.loads(pickle.dumps(KafkaException(error))).error.transaction_requires_abort is True


def test_take_error_keeps_fatal(transactional):
    class Argument(ctypes.Structure):       # rd_kafka_vu_t
        _fields_ = [("vtype", ctypes.c_int), ("text", ctypes.c_char_p), ("padding", ctypes.c_char * 56)]

    assert LIBRARY.rd_kafka_test_fatal_error(transactional, STATE, b"on purpose") == 0
    argument = Argument(1, b"t")            # RD_KAFKA_VTYPE_TOPIC
    error = take_error(LIBRARY.rd_kafka_produceva(transactional, ctypes.byref(argument), ctypes.c_size_t(1)))
    assert error.is_fatal is True and "on purpose" in error.message and " fatal" in str(error)
