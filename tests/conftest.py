"""Fixtures and options of all tests: mock clusters, topics, bounded waits, the check that every producer released all.

A crash or a hang of the native code must say where: faulthandler is on here and in every Python that a test starts.
"""
import faulthandler
import json
import logging
import os
import random
import shutil
import signal
import time
import uuid
from pathlib import Path
from weakref import WeakSet

import pytest
import helpers

import kafkapp
from kafkapp.client.client import clients
from kafkapp.testing import MockCluster

os.environ.setdefault("PYTHONFAULTHANDLER", "1")
# A Python that a test starts imports the kafkapp that is tested, and not the source folder that it happens to start in.
os.environ["PYTHONSAFEPATH"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(kafkapp.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
if not faulthandler.is_enabled():
    faulthandler.enable()
# A shell ignores Ctrl-C for what it starts in the background, and so would Python: these tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# nohup ignores SIGHUP.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


FIGURES = pytest.StashKey()
CONTROLS = pytest.StashKey()
WHERE = pytest.StashKey()
# Their fixtures build the site, count the instructions of a C program, compile a module: once, and not in each process of xdist's.
ONE_PROCESS = "test_reference.py", "test_process_budgets.py", "test_second_client.py"
BEGIN = time.monotonic()


@pytest.fixture(autouse=True, scope="session")
def no_options_for_others():
    """A pytest that a test starts is another run. Not earlier: xdist's processes read the variable too."""
    os.environ.pop("PYTEST_ADDOPTS", None)


@pytest.fixture
def cluster():
    """One broker for this test alone, to be broken as one likes. With librdkafka 2.0.2, closing it may take a second."""
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def broker():
    """One broker for all tests that break nothing: inject no errors here, and use topics of your own."""
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture
def topic(request):
    """The name of a new topic with four partitions: on `cluster` if the test has that, else on the shared `broker`."""
    where = request.getfixturevalue("cluster" if "cluster" in request.fixturenames else "broker")
    name = f"t-{uuid.uuid4().hex[:12]}"
    where.create_topic(name)
    return name


def pytest_addoption(parser):
    parser.addoption("--faults", choices=("gate", "thorough"), default="gate", help="how much the fault tests do")
    parser.addoption("--faults-seed", type=int, default=random.randrange(2**32), help="of the fault tests, to repeat a run")


    parser.addoption("--faults-figures", type=Path, help="a file for what the fault tests have counted, as JSON")


def pytest_configure(config):
    from faultkit import environment

    if config.getoption("--faults-figures"):
        config.stash[WHERE] = environment(config.getoption("--faults-seed"))     # now: at the end the commit may be another one


def pytest_report_header(config):
    return f"faults: {config.getoption('--faults')}, --faults-seed={config.getoption('--faults-seed')}"


@pytest.fixture
def silent(tmp_path, monkeypatch):
    """A file: whose name is written into it, of that host the name server keeps silent in programs that are started now."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    library, file = tmp_path / "resolver.so", tmp_path / "silent"
    helpers.preloaded(helpers.shared_library(helpers.ROOT / "tests/native/silent_resolver.c", library), monkeypatch)
    monkeypatch.setenv("SILENT_RESOLVER", str(file))
    return file


@pytest.fixture
def faults(request):
    from faultkit import Faults

    figures = request.config.stash.setdefault(FIGURES, {}).setdefault(request.node.nodeid.split("/")[-1], {})
    start = time.monotonic()
    yield Faults(request.config.getoption("--faults") == "thorough", request.config.getoption("--faults-seed"), figures)
    if figures and "kafka" in request.fixturenames:
        from kafka_jars import KAFKA_VERSION

        figures["broker"] = f"Apache Kafka {KAFKA_VERSION}"         # the others': the embedded cluster
    figures["seconds"] = round(time.monotonic() - start, 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`pytest -n 4` starts one real Kafka, and does once what some files' fixtures take seconds for; these begin first.

    (xdist 3.8 has groups, which pytest 9.2 does not see.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneProcessEach(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::")[0]
            return "kafka" if "/kafka/" in path else path if path.endswith(ONE_PROCESS) else nodeid

    return OneProcessEach(config, log)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--faults") == "thorough":
        for item in items:
            item.add_marker(pytest.mark.timeout(1800))      # thousands of rounds; each has a bound of its own


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    # A control is a planted bug that the check has to report: how many did, of how many that ran.
    report = yield
    if report.when == "call" and "test_control_" in item.nodeid and not report.skipped:
        fired, ran = item.config.stash.get(CONTROLS, (0, 0))
        item.config.stash[CONTROLS] = (fired + report.passed, ran + 1)
    return report


def pytest_terminal_summary(terminalreporter, config):
    figures = {test: counts for test, counts in config.stash.get(FIGURES, {}).items() if len(counts) > 1}
    if config.getoption("--faults") == "thorough":
        terminalreporter.section("figures")
        for test, counts in figures.items():
            terminalreporter.line(f"{test}: {counts}")
    if config.getoption("--faults-figures"):
        fired, ran = config.stash.get(CONTROLS, (0, 0))
        config.getoption("--faults-figures").write_text(json.dumps(config.stash[WHERE] | {
            "duration": round(time.monotonic() - BEGIN, 1), "controls_fired": f"{fired} of {ran}", "figures": figures}, indent=1))


made = WeakSet()            # every client, closed or not


def remember(client, add=clients.add):
    made.add(client)
    add(client)


clients.add = remember


def unbalanced(client):
    """What a client's books say that cannot be, or None."""
    ledger = client.ledger()
    if client in clients:
        good = 0 <= ledger.get("buffers", 0) <= ledger.get("states", 0) and ledger["outstanding"] >= 0
    else:
        good = not any(ledger.values())
    return None if good else ledger


@pytest.fixture(autouse=True)
def books_balance():
    """After each test: a closed producer holds nothing, an open one no more than it has in flight."""
    yield
    for client in list(made):
        end = time.monotonic() + 5      # a request in a thread of its own may keep a closed client for a moment
        while unbalanced(client) and time.monotonic() < end:
            time.sleep(0.01)
        assert not unbalanced(client), f"{client.name}: {unbalanced(client)}"


@pytest.fixture(autouse=True)
def logs_are_logged():
    """After each test: a test that leaves the library's logger set up would silence those behind it that read logs."""
    yield
    logger = logging.getLogger("kafkapp")
    assert (logger.level, logger.propagate, logger.disabled, logger.handlers) == (logging.NOTSET, True, False, [])
