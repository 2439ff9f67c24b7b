"""Packet loss to and from the broker: TCP retransmits, and no record is lost, duplicated or torn.

Fault F41, against the embedded cluster in a network of its own, whose nft drops packets at random.
"""
import json
import os
import shutil
import subprocess
import sys
from functools import cache

import pytest
from helpers import ROOT

PRIVATE = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]
LOSS = """
ip link set lo up && nft add table ip t && nft 'add chain ip t i { type filter hook input priority 0; }' && \
nft 'add rule ip t i tcp dport != 0 meta random & 0xff < %d counter drop' || exit 77
"""
PROGRAM = """
import json, sys
from faultkit import make
from ledger import UNKNOWN, Ledger
from readback import read_log
from kafkapp import ProducerRecord
from kafkapp.testing import MockCluster

kind, count = sys.argv[1], int(sys.argv[2])
ledger = Ledger()
with MockCluster(2) as cluster:
    cluster.create_topic("t", 2)
    with make(kind, cluster, {"enable.idempotence": True, "max.in.flight": 1, "linger.ms": 1}) as producer:
        for number in range(count):
            identity, payload = ledger.stamp(size=400)
            producer.send(ProducerRecord("t", number % 2, value=bytearray(payload)), lambda metadata, error, identity=identity:
                ledger.report(identity, UNKNOWN, code=int(error.code)) if error else
                ledger.delivered(identity, metadata.partition, metadata.offset))
            if number % 50 == 0:
                producer.flush(60)
        producer.flush(100)
    verdict = ledger.verdict(read_log(cluster.bootstrap_servers, "t"))
print(json.dumps([verdict.sent, verdict.delivered, verdict.faults()]))
"""


def in_private(script, *arguments, timeout=150):
    found = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT / "tests" / "support")])
    return subprocess.run([*PRIVATE, script, "sh", *map(str, arguments)], env=os.environ | {"PYTHONPATH": found}, text=True,
                          capture_output=True, timeout=timeout, check=False)


@cache
def can_lose():
    """Whether a network of its own that drops packets can be set up here."""
    return all(map(shutil.which, ("unshare", "ip", "nft"))) and in_private(LOSS % 1).returncode == 0


def lossy(percent, kind, count):
    """(what the program said, packets dropped) with so many packets lost, of either direction."""
    script = (LOSS % round(percent * 2.56) + 'out=$("$1" -c "$2" "$3" "$4") && echo "$out" && nft -j list chain ip t i')
    ended = in_private(script, sys.executable, PROGRAM, kind, count)
    assert ended.returncode == 0, ended.stderr
    said, rules = ended.stdout.splitlines()
    [counter] = [part["counter"]["packets"] for entry in json.loads(rules)["nftables"] if "rule" in entry
                 for part in entry["rule"]["expr"] if "counter" in part]
    return json.loads(said), counter


@pytest.mark.parametrize("kind, percent", [("Auto", 10), ("Manual", 10)])
def test_lost_packets_lose_no_record(faults, kind, percent):
    if not can_lose():
        pytest.skip("needs unshare, ip and nft, and the right to a network of one's own")
    (sent, delivered, wrong), dropped = lossy(percent, kind, count := faults.rounds(150, 10_000))
    assert sent == delivered == count and not wrong.keys() - {"duplicate"}, wrong
    assert dropped > 0
    faults.figure(delivered=delivered, packets_dropped=dropped, percent=percent)


def test_control_a_wire_that_loses_everything_delivers_nothing():
    if not can_lose():
        pytest.skip("needs unshare, ip and nft, and the right to a network of one's own")
    script = LOSS % 256 + '"$1" -c "$2" "$3"'
    program = """
import sys
from faultkit import make
from helpers import NOWHERE
from kafkapp import ProducerRecord
from kafkapp.testing import MockCluster
with MockCluster() as cluster, make(sys.argv[1], cluster, {"message.timeout.ms": 500}) as producer:
    codes = []
    producer.send(ProducerRecord("t", value=b"v"), lambda metadata, error: codes.append(error.code.name))
    producer.flush(10)
print(codes)
"""
    assert "MSG_TIMED_OUT" in in_private(script, sys.executable, program, "Auto").stdout
