"""The smoke test of an installed wheel: it imports, names its libraries, and sends with each producer.

Run by cibuildwheel with nothing but the wheel and its dependencies: `python -I tests/wheel/smoke.py [VERSION]`, where
VERSION is the librdkafka that must be inside. Needs no broker: kafkapp brings a cluster.
"""
import sys
import sysconfig
import time
from importlib.metadata import version

import kafkapp
from kafkapp.testing import MockCluster

FEATURES = {"gzip", "snappy", "lz4", "zstd", "ssl", "sasl_plain", "sasl_scram", "sasl_oauthbearer", "oidc"}
OPTIONS = (kafkapp.SendOption.NoCopyRecordValue, kafkapp.SendOption.ToCopyRecordValue)


def check_what_it_is():
    assert kafkapp.__version__ == version("kafkapp")
    missing = FEATURES - {*kafkapp.librdkafka_features()} - ({"oidc"} if len(sys.argv) < 2 else set())
    assert not missing, f"librdkafka {kafkapp.librdkafka_version()} lacks {missing}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled(), "the import has switched the GIL on"
    assert kafkapp.librdkafka_version() == (sys.argv[1:] or [kafkapp.librdkafka_version()])[0]


def check_async(properties, codec):
    reports = []
    with kafkapp.KafkaAsyncProducer({**properties, "compression.type": codec, "linger.ms": 1}) as producer:
        for option in OPTIONS:
            record = kafkapp.ProducerRecord("light", 0, b"key", bytearray(b"a value " * 100))
            producer.send(record, lambda metadata, error: reports.append((metadata, error)), option)
    assert [error for _, error in reports] == [None, None], reports
    assert {metadata.persisted_status for metadata, _ in reports} == {kafkapp.PersistedStatus.Done}


def check_sync(properties):
    with kafkapp.KafkaSyncProducer(properties) as producer:
        first = producer.send(kafkapp.ProducerRecord("light", 1, None, b"one"))
        second = producer.send(kafkapp.ProducerRecord("light", 1, None, "two"))
        assert (first.offset, second.offset) == (0, 1), (first, second)
        for number, option in enumerate(OPTIONS):
            batch = producer.send_batch("light", [b"x", None], partition=2, option=option)
            assert batch.done and not list(batch.failures())
            assert list(memoryview(batch.offsets)) == [2 * number, 2 * number + 1]


def main():
    check_what_it_is()
    with MockCluster() as cluster:
        cluster.create_topic("light")
        properties = {"bootstrap.servers": cluster.bootstrap_servers}
        for codec in ("zstd", "lz4"):
            check_async(properties, codec)
        check_sync(properties)
    took = time.process_time()      # all threads', and the imports; not what else the machine does meanwhile
    assert took < 2, f"took {took:.2f} s of processor: the light test must be done with two"
    print(f"kafkapp {kafkapp.__version__}, librdkafka {kafkapp.librdkafka_version()}: sent with both producers, "
          f"copied and not, in {took:.2f} s of processor")


main()
