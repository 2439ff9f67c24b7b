"""Options: none is falsy, old numbers still mean the same, and a reload of the package changes nothing."""
import pickle

import pytest
from helpers import run_python

from kafkapp import ActionWhileQueueIsFull, EventsPollingOption, KafkaAsyncProducer, ProducerRecord, SendOption
from kafkapp.common.options import Option

# What each was in 0.1, when pickles may have been made.
OLD = [(SendOption.NoCopyRecordValue, 0), (SendOption.ToCopyRecordValue, 1), (EventsPollingOption.Manual, 0), (EventsPollingOption.Auto, 1),
       (ActionWhileQueueIsFull.Block, 0), (ActionWhileQueueIsFull.NoBlock, 1)]


def test_no_option_is_false():
    assert len(OLD) == sum(len(kind) for kind in Option.__subclasses__())
    assert all(member for member, _ in OLD)


@pytest.mark.parametrize("member, number", OLD, ids=repr)
def test_old_numbers_say_what_they_said(member, number):
    kind = type(member)
    assert kind(number) is member and [other for other in kind if other == number] in ([], [member])
    old = pickle.dumps(member, 2).replace(b"K" + bytes([member]), b"K" + bytes([number]))
    assert pickle.loads(old) is member is pickle.loads(pickle.dumps(member))
    for wrong in (3, -1, "0", None, 0.5):
        with pytest.raises(ValueError):
            kind(wrong)


def test_options_of_another_kind_are_refused_whatever_they_equal():
    with KafkaAsyncProducer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "linger.ms": 60000}) as producer:
        for option in (0, 1, 2, EventsPollingOption.Auto, ActionWhileQueueIsFull.Block, None, True, "ToCopyRecordValue"):
            with pytest.raises(TypeError, match="option must be a SendOption"):
                producer.send(ProducerRecord("t"), None, option)
            with pytest.raises(TypeError, match="option must be a SendOption"):
                producer.send_batch("t", [b"v"], option=option)
        for action in (0, 1, 2, SendOption.NoCopyRecordValue, True):
            with pytest.raises(TypeError, match="action must be an ActionWhileQueueIsFull"):
                producer.send(ProducerRecord("t"), action=action)
        for polling in (0, 1, 2, SendOption.NoCopyRecordValue, None):
            with pytest.raises(TypeError, match="events_polling must be an EventsPollingOption"):
                KafkaAsyncProducer({"bootstrap.servers": "127.0.0.1:1"}, polling)
        producer.close(0)


AGAIN = """
import asyncio, copy, importlib, pickle, sys
import kafkapp, kafkapp.aio, kafkapp.testing
old = kafkapp
record = old.ProducerRecord("t", value=b"v")
pickled = pickle.dumps([old.SendOption.ToCopyRecordValue, record, old.ErrorCode(-184), old.PersistedStatus.Done, old.Timestamp(1)])
how = sys.argv[1]
names = [name for name in sys.modules if name == "kafkapp" or name.startswith("kafkapp.")]
if how == "purge":
    for name in names:
        del sys.modules[name]
elif how == "reload all":
    for name in [name for name in names if name != "kafkapp"] + ["kafkapp"]:
        importlib.reload(sys.modules[name])
else:
    for name in ("kafkapp.common.options", "kafkapp.producer.options", "kafkapp.config.properties", "kafkapp.common.timestamp", "kafkapp.common.cluster_metadata", "kafkapp"):
        importlib.reload(sys.modules[name])
import kafkapp, kafkapp.aio
from kafkapp import *
from kafkapp.testing import MockCluster
assert SendOption is not old.SendOption or how != "purge"
assert pickle.loads(pickled)[0] == SendOption.ToCopyRecordValue and pickle.loads(pickled)[2] is ErrorCode(-184)
with MockCluster() as cluster:
    servers = {ProducerConfig.BOOTSTRAP_SERVERS: cluster.bootstrap_servers}
    for names in (old, kafkapp):        # members from before the reload stay valid
        for polling in (names.EventsPollingOption.Manual, names.EventsPollingOption.Auto):
            with KafkaAsyncProducer(names.ProducerConfig(servers), polling) as producer:
                for option in names.SendOption:
                    producer.send(names.ProducerRecord("t", value=b"v"), None, option, action=names.ActionWhileQueueIsFull.NoBlock)
                    assert producer.try_send(record, None, option) is None
                    producer.send_batch("t", [b"v"], option=option)
                if polling == names.EventsPollingOption.Auto:
                    producer.send(record, action=names.ActionWhileQueueIsFull.Block)
                else:
                    producer.poll_events(0)
                    try:
                        producer.send(record, action=names.ActionWhileQueueIsFull.Block)
                    except RuntimeError as error:
                        assert "Manual" in str(error)
                producer.flush(10)
        with KafkaSyncProducer(names.Properties(servers)) as producer:
            assert producer.send(record, 10).persisted_status == names.PersistedStatus.Done
        async def send():
            async with kafkapp.aio.KafkaProducer(servers) as producer:
                return await producer.send(record, names.SendOption.ToCopyRecordValue)
        assert asyncio.run(send()).topic == "t"
try:
    raise KafkaException(-184)
except old.KafkaException:
    print("works")
"""


@pytest.mark.parametrize("how", ["purge", "reload", "reload all"])
def test_the_package_imported_again(how):
    assert run_python(AGAIN, how, timeout=60) == "works\n"
