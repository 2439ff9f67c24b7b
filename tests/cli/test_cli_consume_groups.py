"""`kafkapp consume -g`: members of a group share the partitions, go on where they stopped, and commit before they lose them."""
import signal

import pytest
from command_line import BOUND, finish, new_topic, run, start, until

NEVER = ("-X", "auto.commit.interval.ms=86400000")      # but when partitions are revoked, and at the end
COOPERATIVE = ("-X", "partition.assignment.strategy=cooperative-sticky")    # the embedded cluster takes no commit in an eager rebalance
COUNT = 10


@pytest.fixture
def topic(broker):
    name = new_topic()
    broker.create_topic(name, 2)
    return name


@pytest.fixture
def send(send):
    """Send so many records to each partition: their values are the partition and what is given."""
    def send_word(word):
        for partition in 0, 1:
            send(*(f"{partition} {word} {n}" for n in range(COUNT)), partition=partition)
    return send_word


@pytest.fixture
def member(broker, topic):
    """Once a member has left, the embedded cluster has the next one wait for the session's timeout, less a second."""
    return "consume", "-b", broker.bootstrap_servers, "-g", topic, "-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=200"


def everything(word, partitions=(0, 1)):
    return sorted(f"{partition} {word} {n}" for partition in partitions for n in range(COUNT))


def test_a_member_goes_on_where_the_group_stopped(broker, topic, send, member):
    send("early")
    first = run(*member, topic, "-c", 7, "-q")
    assert (first.returncode, first.stderr) == (0, "")
    read = first.stdout.splitlines()
    assert len(read) == 7 and sum(broker.committed(topic).values()) == 7
    second = run(*member, f"^{topic}$", "-e", "-q")         # by an expression
    assert (second.returncode, second.stderr) == (0, "")
    assert sorted(read + second.stdout.splitlines()) == everything("early")
    assert broker.committed(topic) == {(topic, 0): COUNT, (topic, 1): COUNT}


def test_partitions_are_committed_before_another_member_has_them(broker, topic, send, member):
    send("early")
    first = start(*member, topic, *NEVER, *COOPERATIVE, bufsize=0)
    early = sorted(first.stdout.readline().decode().rstrip("\n") for _ in range(2 * COUNT))
    assert early == everything("early") and broker.committed(topic) == {}
    second = start(*member, topic, *NEVER, *COOPERATIVE, bufsize=0)
    until(lambda: broker.committed(topic))
    [((_, partition), offset)] = broker.committed(topic).items()       # what the first one has lost, and nothing else
    assert offset == COUNT
    send("late")
    late = [second.stdout.readline().decode().rstrip("\n") for _ in range(COUNT)]
    assert late == [f"{partition} late {n}" for n in range(COUNT)]
    others = [first.stdout.readline().decode().rstrip("\n") for _ in range(COUNT)]
    assert others == [f"{1 - partition} late {n}" for n in range(COUNT)]
    ended(second)
    send("last")        # a rebalance takes no commits: it is over once the first one reads both
    last = sorted(first.stdout.readline().decode().rstrip("\n") for _ in range(2 * COUNT))
    assert last == everything("last")
    ended(first)
    assert broker.committed(topic) == {(topic, 0): 3 * COUNT, (topic, 1): 3 * COUNT}


def ended(process):
    process.send_signal(signal.SIGTERM)
    status, out, err = finish(process, BOUND)
    assert (status, out) == (143, "") and "kafkapp:" not in err, err


def test_without_commits_a_group_is_left_as_it_was(broker, topic, send, member):
    send("early")
    assert sorted(run(*member, topic, "-e", "-q", "-X", "enable.auto.commit=false").stdout.splitlines()) == everything("early")
    assert broker.committed(topic) == {}
