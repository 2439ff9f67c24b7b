"""examples/tls_from_secrets.py against a real broker's TLS listeners; no secret is in what it prints."""
import os
import subprocess
import sys

import pytest
from certificates import Authority
from helpers import ROOT
from readback import read_messages

import kafkapp

pytestmark = pytest.mark.skipif(not {"ssl", "sasl_scram"} <= set(kafkapp.librdkafka_features()), reason="this librdkafka has no TLS")
PASSWORD, KEY_PASSWORD = "s3cret-of-alice", "s3cret-of-the-key"


@pytest.fixture(scope="module")
def secured(kafka_factory, tmp_path_factory):
    """(cluster, environment of each way): a listener for certificates, and one for names and passwords."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "authority")
    config = {}
    for listener in ("mutual", "sasltls"):
        prefix = f"listener.name.{listener}"
        for name, value in {"keystore.type": "PEM", "keystore.location": authority.issue_store(listener), "truststore.type": "PEM",
                            "truststore.location": authority.file}.items():
            config[f"{prefix}.ssl.{name}"] = value
    config["listener.name.mutual.ssl.client.auth"] = "required"
    config["listener.name.sasltls.sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
    config["listener.name.sasltls.scram-sha-512.sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    cluster = kafka_factory(1, config=config, proxied=False, listeners={"MUTUAL": "SSL", "SASLTLS": "SASL_SSL"},
                            format_arguments=["--add-scram", f"SCRAM-SHA-512=[name=alice,password={PASSWORD}]"])
    key, certificate = authority.issue("client", password=KEY_PASSWORD)
    common = {"KAFKA_CA": authority.file.read_text()}
    yield cluster, {
        "a certificate": common | {"KAFKA_BOOTSTRAP_SERVERS": cluster.servers("MUTUAL"), "KAFKA_CERTIFICATE": certificate.read_text(),
                                   "KAFKA_KEY": key.read_text(), "KAFKA_KEY_PASSWORD": KEY_PASSWORD},
        "a password": common | {"KAFKA_BOOTSTRAP_SERVERS": cluster.servers("SASLTLS"), "KAFKA_USERNAME": "alice",
                                "KAFKA_PASSWORD": PASSWORD + "\n"},
    }
    cluster.stop()


def run(topic, environment):
    """The exit status and the standard error of a run that sends two lines."""
    names = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    result = subprocess.run([sys.executable, ROOT / "examples" / "tls_from_secrets.py", topic], env=names | environment, text=True,
                            input="two apples\na pear\n", capture_output=True, timeout=100, check=False)
    assert result.stdout == "" and "Traceback" not in result.stderr, result.stderr
    assert not any(secret in result.stderr for secret in (PASSWORD, KEY_PASSWORD, "PRIVATE KEY"))
    return result.returncode, result.stderr


@pytest.mark.parametrize("way", ["a certificate", "a password"])
@pytest.mark.parametrize("line_ends", ["\n", "\\n"], ids=["lines", "one line"])
def test_what_the_environment_has_is_enough(secured, way, line_ends):
    cluster, environments = secured
    topic = cluster.create_topic()
    environment = {name: value.replace("\n", line_ends) if name in ("KAFKA_CA", "KAFKA_CERTIFICATE", "KAFKA_KEY") else value
                   for name, value in environments[way].items()}
    status, said = run(topic, environment)
    assert status == 0 and said.splitlines()[-2:] == [f"{topic}-0 at 0", f"{topic}-0 at 1"]
    assert [message.value() for message in read_messages(cluster.bootstrap_servers, topic)] == [b"two apples", b"a pear"]


@pytest.mark.parametrize("change, text", [
    ({"KAFKA_KEY_PASSWORD": "another"}, "ssl.key.password is not the right one"),
    ({"KAFKA_CERTIFICATE": "no PEM"}, "ssl.certificate.pem is not PEM text"),
    ({"KAFKA_KEY": None}, "the environment has no KAFKA_KEY"),
])
def test_what_is_wrong_is_one_line(secured, change, text):
    environment = {name: value for name, value in (secured[1]["a certificate"] | change).items() if value is not None}
    status, said = run("orders", environment)
    assert status == 1 and text in said.splitlines()[-1]
