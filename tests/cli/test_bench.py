"""`kafkapp bench`: tiny runs of its scenarios measure what they say, and a control loses records."""
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from kafkapp import ErrorCode, KafkaAsyncProducer
from kafkapp.bench import command, instructions
from kafkapp.bench.broker import mock_cluster
from kafkapp.bench.case import READS, WAITS, Case, CaseFailed, Outcome, end_offset, reason, run_case
from kafkapp.bench.program import run_scenario
from kafkapp.bench.reading_scenarios import FULL
from kafkapp.bench.report import one_json, predicted_copy, print_result
from kafkapp.bench.scenario import Result, Scenario, Target
from kafkapp.bench.scenarios import ALL, COPY

ROOT = Path(__file__).parents[2]
BATCH = pytest.param("batch", marks=pytest.mark.skipif(not hasattr(KafkaAsyncProducer, "send_batch"), reason="no send_batch"))


@pytest.fixture(scope="module")
def servers():
    with mock_cluster() as found:
        yield found


@pytest.mark.parametrize("case", [
    Case("loop", "c_program", "send", 1000),
    Case("copy", "c_program", "send", 1000, copy=True),
    Case("batches", "c_program", "send", 1000, batch=300),
    Case("topics", "c_program", "send", 1000, topics=7, partitions=3),
    Case("full queue", "c_program", "send", 1000, settings={"queue.buffering.max.messages": 10}),
    Case("full queue, batches", "c_program", "send", 1000, batch=100, settings={"queue.buffering.max.messages": 10}),
], ids=lambda case: case.label)
def test_c_program_delivers_what_it_sends(servers, case):
    outcome = run_case(case, servers, f"test-{case.label.replace(' ', '-').replace(',', '')}")
    assert outcome.raw["delivered"] == 1000
    assert outcome.rate > 0 and 0 < outcome.sender_us <= outcome.cpu_us * 1.5


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("path, batch, needs", [("c", 0, None), ("batches", 300, None), ("records", 300, None),
                                                ("confluent", 100, "confluent_kafka"), ("confluent", 0, "confluent_kafka")])
def test_each_reader_takes_what_the_topic_was_filled_with(servers, path, batch, needs, full):
    if needs:
        pytest.importorskip(needs)
    case = Case("reads", READS, path, 1000, topics=2, batch=batch, options={"full": full}, settings=FULL if full else {})
    outcome = run_case(case, servers, f"test-{path}-{batch}-{full}")
    assert outcome.raw["delivered"] == 1000
    assert outcome.rate > 0 and 0 < outcome.sender_us <= outcome.cpu_us * 1.5


def test_a_reader_at_rest_says_what_it_holds_and_costs(servers):
    outcome = run_case(Case("rest", READS, "queue", 5000, topics=2), servers, "test-rest")
    assert outcome.held_mb > 0.5 and 0 <= outcome.core_percent < 100


def test_a_reader_that_gets_other_records_than_its_own_is_refused(servers):
    """The topic has a hundred from before."""
    case = Case("other", READS, "batches", 100, batch=200, options={"full": True}, settings=FULL)
    run_case(case, servers, "test-other")
    with pytest.raises(CaseFailed, match="other: 100 records sent, 200 delivered: no result"):
        run_case(case, servers, "test-other")


def test_a_topic_that_cases_share_is_filled_once(servers):
    """Unlike the one of the test before: each of these reads a hundred."""
    case = Case("shared", READS, "batches", 100, batch=200, options={"full": True, "shared": True}, settings=FULL)
    assert [run_case(case, servers, "test-shared").raw["delivered"] for _ in range(2)] == [100, 100]


def test_cases_that_share_a_topic_are_given_the_same_one(monkeypatch):
    topics = []
    monkeypatch.setattr("kafkapp.bench.program.run_one", lambda case, servers, topic, result: topics.append((case.label, topic)))
    shared = [Case(label, READS, "c", records, options={"shared": True}) for label, records in (("a", 10), ("b", 10), ("c", 20))]
    run_scenario(Scenario("s", "", (*shared, Case("own", READS, "c", 10))), 2, "nobody:9")
    of = {label: {topic for name, topic in topics if name == label} for label in ("a", "b", "c", "own")}
    assert of["a"] == of["b"] != of["c"] and [len(of[label]) for label in ("a", "c", "own")] == [1, 1, 2]


@pytest.mark.parametrize("path, shows, needs", [
    ("aio", True, None), ("poll", True, None), ("c", True, None), ("confluent", False, "confluent_kafka"),
    ("aio-confluent", False, "confluent_kafka.aio"), ("aiokafka", False, "aiokafka")])
def test_each_reader_that_waits_says_how_long_it_took(servers, path, shows, needs):
    if needs:
        pytest.importorskip(needs)
    outcome = run_case(Case("waits", WAITS, path, 30, settings={"fetch.wait.max.ms": 5}), servers, f"test-waits-{path}")
    assert outcome.raw["delivered"] == 30
    assert path == "c" or len(outcome.raw["sent"]) == 30 and outcome.sent_us > 0
    assert ("latencies" in outcome.raw) == shows
    if shows:
        assert 0 < outcome.p50_us <= outcome.p99_us and len(outcome.raw["latencies"]) <= 30
        assert path == "c" or outcome.p50_us < outcome.sent_us      # it is available after it was sent


def test_batches_that_are_kept_say_what_they_hold(servers):
    case = Case("held", READS, "held", 50_000, batch=10_000, options={"full": True}, settings=FULL)
    assert 20 < run_case(case, servers, "test-held").held_bytes < 60


@pytest.mark.parametrize("sdk", [True, False])
def test_traced_records_are_delivered(servers, sdk):
    pytest.importorskip("opentelemetry.sdk")
    outcome = run_case(Case("traced", "ours", "traced", 500, options={"sdk": sdk}), servers, f"test-traced-{sdk}")
    assert outcome.raw["delivered"] == 500


def test_broker_counts_what_a_case_without_reports_sent(servers):
    pytest.importorskip("confluent_kafka")
    outcome = run_case(Case("quiet", "confluent", "send", 500, callback=False), servers, "test-quiet")
    assert outcome.raw["delivered"] == 500
    assert end_offset(servers, "test-quiet") == 500 + outcome.raw["warm"]


@pytest.mark.parametrize("lossy", [
    Case("lossy", "c_program", "send", 100, settings={"batch.num.messages": 10}),
    Case("lossy", "ours", "send", 100, settings={"batch.num.messages": 10}),
    Case("lossy", "ours", "send", 100, settings={"batch.num.messages": 10}, callback=False),
], ids=["C", "kafkapp", "kafkapp without callback"])
def test_case_that_loses_records_is_refused(cluster, lossy):
    def lose_ten():  # the warm-up gets through, ten of the hundred do not
        cluster.push_request_errors(0, 0, ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)

    lose_ten()
    with pytest.raises(CaseFailed, match="100 records sent, 90 delivered: no result"):
        run_case(lossy, cluster.bootstrap_servers, "test-lossy")
    good = Case("good", "c_program", "send", 100)
    lose_ten()
    result = run_scenario(Scenario("control", "", (lossy, good), (
        Target("", lambda outcomes: outcomes["good"].rate / outcomes["lossy"].rate, at_least=1),)),
        2, cluster.bootstrap_servers)
    assert len(result.outcomes("good")) == 2 and not result.outcomes("lossy")
    [target] = one_json(result, real=False)["targets"]
    assert target["verdict"].startswith("not measured: lossy: 100 records sent, 90 delivered")


def test_broker_that_takes_nothing_is_reported(servers):
    with pytest.raises(CaseFailed, match="nothing can be sent: Local: Message timed out"):
        run_case(Case("nobody", "c_program", "send", 1, online=False, settings={"message.timeout.ms": 200}), servers, "none")


def test_broker_that_lost_records_is_noticed(servers, monkeypatch):
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr("kafkapp.bench.case.end_offset", lambda *broker: 400)
    with pytest.raises(CaseFailed, match="500 records sent, 399 delivered"):
        run_case(Case("quiet", "confluent", "send", 500, callback=False), servers, "test-lost")


def test_failed_process_is_reported_with_its_own_words(servers):
    with pytest.raises(CaseFailed, match="strange: KeyError: 'no-such-path'"):
        run_case(Case("strange", "c_program", "no-such-path", 1), servers, "test-strange")


def test_reason_is_not_a_line_of_the_log_nor_of_the_crash_handler():
    assert reason(1, "Traceback:\n  x\nValueError: so it is\n%3|1|FAIL|x| refused\n\n") == "ValueError: so it is"
    assert reason(-11, "Fatal Python error\nExtension modules: a, b") == "killed by SIGSEGV"
    assert reason(3, "") == "exit status 3"


def test_process_that_hangs_is_ended(servers):
    with pytest.raises(CaseFailed, match="the timeout of 1 s expired"):
        run_case(Case("slow", "c_program", "send", 10, online=False), servers, "test-slow", timeout=1)


def test_missing_client_is_left_out(servers):
    result = run_scenario(Scenario("gone", "", (Case("gone", "ours", "send", 1, needs=("no_such_module.sub",)),
                                                Case("bin", "programs", "kcat", 1, needs=("bin:no-such-program",)),
                                                Case("env", "programs", "java", 1, needs=("env:NO_SUCH_VARIABLE",)))),
                          1, servers)
    assert result.left_out == {"gone": "no_such_module.sub is not there", "bin": "no-such-program is not there",
                               "env": "NO_SUCH_VARIABLE is not there"}
    assert result.rounds == [{}]


def test_target_is_judged_by_the_median_of_its_rounds():
    def outcome(seconds):
        return Outcome({"records": 100, "seconds": seconds})

    target = Target("", lambda outcomes: outcomes["a"].rate / outcomes["b"].rate, at_least=2.0)
    rounds = [{"a": outcome(1.0), "b": outcome(ratio)} for ratio in (1.0, 3.0, 2.5)]
    verdict = Result(Scenario("s", "", ()), rounds).verdict(target)
    assert verdict.figures == [1.0, 3.0, 2.5] and verdict.median == 2.5 and verdict.word == "holds"
    assert Result(Scenario("s", "", ()), rounds).verdict(replace(target, at_least=2.6)).word == "MISSED"
    assert Result(Scenario("s", "", ()), rounds).verdict(replace(target, at_least=None, at_most=2.4)).word == "MISSED"


def test_predicted_copies():
    assert [predicted_copy(case) for case in COPY.cases[:12] if case.size in (10_000, 100_000)] == [
        20_000, 10_000, 100_000, 0]


def test_scale_keeps_whole_batches():
    batch = ALL["batch"].scaled(0.0001)
    assert [case.records for case in batch.cases] == [1000, 100, 1000, 1000, 1000]
    assert ALL["stall"].scaled(10).cases[0].records == 1


def test_instructions_are_counted_over_whole_batches():
    assert instructions.lengths(Case("", "ours", "send", 500_000)) == (20_000, 60_000)
    assert instructions.lengths(Case("", "ours", "sync", 3000)) == (1000, 3000)
    assert instructions.lengths(Case("", "ours", "list", 500_000, batch=7000)) == (14_000, 56_000)
    assert instructions.lengths(Case("", "ours", "list", 100, batch=100)) == (100, 300)


@pytest.mark.parametrize("scenario", [scenario for scenario in ALL.values() if scenario.counted], ids=lambda scenario: scenario.name)
def test_counted_scenarios_compare_clients_of_librdkafka(scenario):
    counted = {case.client for case in scenario.cases if case.client in instructions.CLIENTS}
    if counted == {READS}:
        assert {case.path for case in scenario.cases} >= {"c", "batches", "records", "confluent"}
    else:
        assert "ours" in counted and (counted > {"ours"} or scenario.name in ("paths", "partitions", "tracing"))


def test_instructions_without_valgrind_say_how_to_get_it(tmp_path):
    code = "import sys; from kafkapp.bench import command; command.main()"
    done = subprocess.run([sys.executable, "-c", code, "sync", "--instructions"], cwd=ROOT, check=False, text=True,
                          capture_output=True, timeout=100, env={**os.environ, "PATH": str(tmp_path), "COLUMNS": "500"})
    assert done.returncode == 2 and not done.stdout
    assert "--instructions needs valgrind" in done.stderr and "apt-get install valgrind" in done.stderr


def test_callgrind_that_counted_nothing_is_no_result(tmp_path):
    case, out = Case("quiet", "ours", "send", 3), tmp_path / "callgrind"
    with pytest.raises(CaseFailed, match="quiet: callgrind wrote no count"):
        instructions.total(case, out)
    out.write_text("events: Ir\n0 5\n")
    with pytest.raises(CaseFailed, match="quiet: callgrind wrote no count"):
        instructions.total(case, out)
    out.write_text("events: Ir\n0 5\ntotals: 1234\n")
    assert instructions.total(case, out) == 1234


def test_table_names_the_machine_and_has_instructions_where_they_were_counted():
    from rich.console import Console

    case, facts = Case("one", "ours", "send", 100), {"cpu": "A cpu", "cores": "2", "python": "CPython 3", "librdkafka": "2.15.1"}
    outcome = Outcome({"records": 100, "seconds": 1.0, "cpu": 1.0, "send_cpu": 1.0})
    for counts in ({}, {"one": 4567.4}):
        out = io.StringIO()
        print_result(Result(Scenario("s", "text", (case,)), [{"one": outcome}], instructions=counts), facts, False,
                     Console(file=out, width=132))
        assert "A cpu, 2 cores; CPython 3, librdkafka 2.15.1" in out.getvalue()
        assert ("instructions" in out.getvalue()) == ("4,567" in out.getvalue()) == bool(counts)


def test_instructions_stand_beside_the_rates(servers, monkeypatch):
    """What callgrind counts is guarded in tests/native/test_process_budgets.py."""
    def count(case, bootstrap):
        assert bootstrap == servers
        if case.client == "c_program":
            raise CaseFailed("C: lost")
        return 4321.5

    monkeypatch.setattr(instructions, "count", count)
    monkeypatch.setattr(instructions, "is_there", lambda: True)
    arguments = ["sync", "import", "--json", "--instructions", "--rounds", "1", "--scale", "0.01", "-b", servers]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.return_value == 1 and "C: lost" in done.stderr
    sync, start = json.loads(done.stdout)["scenarios"]
    ours, c_program = sync["cases"][:2]
    assert ours["instructions"] == 4321.5 and ours["rounds"] and not ours["failure"]
    assert c_program["instructions"] is None and c_program["failure"] == "C: lost"
    assert not any(case["instructions"] for case in start["cases"])


@pytest.mark.parametrize("scenario", list(ALL.values()), ids=lambda scenario: scenario.name)
def test_targets_name_cases_that_exist(scenario):
    labels = [case.label for case in scenario.cases]
    assert len(set(labels)) == len(labels)
    everything = {"records": 100, "seconds": 1.0, "cpu": 1.0, "send_cpu": 1.0, "peak": 1, "latencies": [1.0], "served": 1.0, "sent": [1.0],
                  "stall": 0.1, "call": 0.1, "held": 5, "growth": 0.1, "waited": 1.0}
    for target in scenario.targets:
        assert target.measure({label: Outcome(everything) for label in labels}) is not None


def bench(*arguments, status=0, timeout=100):
    code = "import sys; from kafkapp.bench import command; sys.exit(command.main(standalone_mode=False))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=False, text=True, capture_output=True, timeout=timeout)
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["callback", "no-callback", BATCH, "sync", "memory", "reports", "topics", "file", "steady",
                                  "threads"])
def test_scenario_gives_json_in_which_all_is_delivered(servers, name):
    said = json.loads(bench(name, "--json", "--rounds", "1", "--scale", "0.001", "-b", servers))
    assert said["machine"]["librdkafka"] and said["machine"]["cpu"] and said["broker"] == servers
    [scenario] = said["scenarios"]
    measured = [case for case in scenario["cases"] if not case["left_out"]]
    assert measured
    for case in measured:
        assert case["failure"] is None and len(case["rounds"]) == 1
        assert case["rounds"][0]["delivered"] == case["records"]
    assert scenario["targets"] and all(target["text"] for target in scenario["targets"])


def test_table_says_what_was_measured_on(servers):
    out = bench("import", "--rounds", "1", "--scale", "0.1")
    assert "librdkafka" in out and "nothing" in out and "mock cluster in its own process" in out and "import kafkapp, ms" in out


def test_plot_is_drawn(servers, tmp_path):
    pytest.importorskip("matplotlib")
    bench("sync", "--rounds", "1", "--scale", "0.01", "-b", servers, "--plot", str(tmp_path / "out.svg"))
    assert "one synchronous send" in (tmp_path / "out.svg").read_text() or (tmp_path / "out.svg").stat().st_size > 5000


def test_command_is_one_that_a_group_can_add():
    assert command.name == "bench" and {parameter.name for parameter in command.params} >= {"names", "bootstrap", "rounds"}
