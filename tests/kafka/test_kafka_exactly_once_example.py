"""examples/exactly_once.py under a supervisor whose instances are killed, and stopped for longer than their session.

A ledger of what was written is compared with what read_committed shows of the results: each once, none missing, each key's
in order. The control is the same program without the transactions' fence and without its progress in them.
"""
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from kafka_admin import wait_until
from readback import read_messages

from kafkapp import KafkaAsyncProducer

PROGRAM = Path(__file__).parents[2] / "examples" / "exactly_once.py"
KEYS = 12
SECONDS = 120


class Instance:
    """The program under one name: started again whenever it ends, until it is stopped."""

    def __init__(self, name, command, log):
        self.name, self.command, self.log = name, [*command, name], log
        self.kills = self.fenced = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stderr=self.log)

    def start_again(self):
        self.process.wait(SECONDS)
        self.start()

    def kill(self):
        self.process.kill()
        self.kills += 1
        self.start_again()

    def pause(self, seconds):
        """A zombie: the group moves on meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def revive(self):
        """Start it again if it has ended by itself: it was fenced, exit status 1, or it is the control's."""
        if self.process.poll() is not None:
            assert self.process.returncode in (1, -signal.SIGKILL), self.process.returncode
            self.fenced += 1
            self.start()

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(SECONDS)
        finally:
            self.process.kill()


class Source:
    """Writes numbered values for each key, until it is stopped."""

    def __init__(self, kafka, topic):
        self.producer = KafkaAsyncProducer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 5})
        self.topic, self.written = topic, []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, name="source")
        self._thread.start()

    def _write(self):
        number = 0
        while not self._stopped.wait(0.02):
            for _ in range(20):
                key = f"key{number % KEYS}"
                self.producer.send(self.topic, f"v{number}", key=key)
                self.written.append((key.encode(), f"V{number}".encode()))
                number += 1

    def close(self):
        self._stopped.set()
        self._thread.join(SECONDS)
        self.producer.close(SECONDS)


def committed(kafka, topic):
    return [(message.key(), message.value()) for message in
            read_messages(kafka.bootstrap_servers, topic, committed=True, fence=False)]


def faults_of(written, found):
    """What is wrong with the results: lost, duplicated, strange, or out of a key's order."""
    counts, expected = Counter(found), set(written)
    faults = {
        "lost": sorted(expected - counts.keys()),
        "twice": sorted(result for result, count in counts.items() if count > 1),
        "strange": sorted(counts.keys() - expected),
        "out of order": [key for key in {key for key, _ in written}
                         if [pair for pair in found if pair[0] == key] != [pair for pair in written if pair[0] == key]],
    }
    return {name: items for name, items in faults.items() if items}


@pytest.fixture
def disturbed(kafka_nodes, make_topic, tmp_path):
    """Runs a program as two instances, disturbs them, and gives (what was written, what is committed, the instances)."""
    kafka = kafka_nodes

    def disturbed(program, kills, pauses=0, restarts=0, seed=7):
        source, target = make_topic(partitions=4), make_topic(partitions=4)
        command = [sys.executable, program, "-b", kafka.bootstrap_servers, source, target]
        dice = random.Random(seed)
        written, instances = Source(kafka, source), []
        with open(tmp_path / "stderr.txt", "wb") as log:
            try:
                instances += [Instance(f"{name}-{source}", command, log) for name in ("one", "two")]
                wait_until(lambda: committed(kafka, target), SECONDS, "the first results")
                turns = ["kill"] * kills + ["pause"] * pauses + ["restart"] * restarts
                dice.shuffle(turns)
                for turn in turns:
                    time.sleep(dice.uniform(0.05, 1.5))     # any moment of its life
                    victim = dice.choice(instances)
                    victim.revive()
                    if turn == "kill":
                        victim.kill()
                    elif turn == "pause":
                        victim.pause(dice.uniform(7, 9))
                    else:
                        dice.choice(list(kafka.nodes.values())).restart()
                        kafka.wait_in_sync(target)
                written.close()

                def all_done():
                    for each in instances:
                        each.revive()
                    found = committed(kafka, target)
                    return found if len(set(found)) == len(written.written) else None
                found = wait_until(all_done, SECONDS, f"all {len(written.written)} results, {tmp_path}")
            finally:
                written.close()
                for each in instances:
                    each.close()
        return written.written, committed(kafka, target) or found, instances

    return disturbed


@pytest.mark.timeout(900)
def test_killed_at_random_moments_each_result_is_there_once_and_in_order(disturbed, faults):
    kills = faults.rounds(5, 100)
    written, found, instances = disturbed(PROGRAM, kills, pauses=faults.rounds(1, 4), restarts=faults.rounds(0, 6),
                                          seed=faults.seed)
    assert sum(each.kills for each in instances) == kills
    assert faults_of(written, found) == {}
    faults.figure(kills=kills, records=len(written), fenced=sum(each.fenced for each in instances))


@pytest.mark.timeout(900)
def test_control_with_the_progress_outside_of_the_transaction_results_come_twice(disturbed, tmp_path):
    text = PROGRAM.read_text()
    progress = "        producer.send_offsets_to_transaction(records.ends, consumer.group_metadata(), timeout=30)\n"
    assert progress in text
    program = tmp_path / "broken.py"
    # It dies once, between the commit of the results and that of the progress.
    program.write_text(text.replace(progress, f'''
    import os
    try:
        os.close(os.open({str(tmp_path / "died")!r}, os.O_CREAT | os.O_EXCL))
        os.kill(os.getpid(), signal.SIGKILL)
    except FileExistsError:
        consumer.commit_sync(records)
'''))
    written, found, _ = disturbed(program, kills=1)
    assert "twice" in faults_of(written, found)


def test_control_the_comparison_sees_each_kind_of_fault():
    written = [(b"k", b"1"), (b"k", b"2"), (b"l", b"3")]
    assert faults_of(written, written) == {}
    assert faults_of(written, [*written, (b"k", b"1")]) == {"twice": [(b"k", b"1")], "out of order": [b"k"]}
    assert faults_of(written, written[1:]) == {"lost": [(b"k", b"1")], "out of order": [b"k"]}
    assert faults_of(written, [*written, (b"m", b"9")]) == {"strange": [(b"m", b"9")]}
    assert faults_of(written, [written[1], written[0], written[2]]) == {"out of order": [b"k"]}
