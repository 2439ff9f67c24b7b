"""Lines of standard input to a topic over TLS, with secrets from the environment: python tls_from_secrets.py orders

    KAFKA_BOOTSTRAP_SERVERS              host:port,...
    KAFKA_CA                             the authority that signed the brokers' certificates, as PEM text
    KAFKA_USERNAME, KAFKA_PASSWORD       SASL (SCRAM-SHA-512): a name and a password
    KAFKA_CERTIFICATE, KAFKA_KEY         or a certificate of one's own, with its key, as PEM text
    KAFKA_KEY_PASSWORD                   where the key is encrypted

A text on one line, with backslash and n for each line end, is taken too: as secret stores and .env files have it.
"""

import os
import sys

from kafkapp import KafkaException, KafkaSyncProducer


def pem(name):
    return os.environ[name].replace("\\n", "\n")


def properties():
    found = {
        "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "ssl.ca.pem": pem("KAFKA_CA"),
        "message.timeout.ms": 30_000,
    }
    if "KAFKA_USERNAME" in os.environ:
        return found | {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": os.environ["KAFKA_USERNAME"].strip(),
            "sasl.password": os.environ["KAFKA_PASSWORD"].strip(),  # mounted files end in a line end
        }
    found["security.protocol"] = "ssl"
    found |= {"ssl.certificate.pem": pem("KAFKA_CERTIFICATE"), "ssl.key.pem": pem("KAFKA_KEY")}
    if "KAFKA_KEY_PASSWORD" in os.environ:
        found["ssl.key.password"] = os.environ["KAFKA_KEY_PASSWORD"].strip()
    return found


def main(topic):
    try:
        with KafkaSyncProducer(properties()) as producer:
            for line in sys.stdin:
                metadata = producer.send(topic, line.rstrip("\n"))
                print(f"{metadata.topic}-{metadata.partition} at {metadata.offset}", file=sys.stderr)
    except KeyError as missing:
        sys.exit(f"the environment has no {missing.args[0]}")
    except KafkaException as exc:
        sys.exit(f"not sent: {exc}")        # no secret is in it


if __name__ == "__main__":
    main(*sys.argv[1:])
