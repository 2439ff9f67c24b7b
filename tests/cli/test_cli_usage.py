"""The command `kafkapp`: help, versions, embedded clusters, properties, and usage errors in one clear line."""
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from command_line import environment, finish, mock_cluster, new_topic, run, start, values
from helpers import NOWHERE
from readback import read_messages

import kafkapp
from kafkapp.config.application import librdkafka_is_patched


@pytest.fixture(scope="module")
def servers():
    with mock_cluster("--brokers", 3) as servers:
        yield servers


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\ntwo\n")
    return path


def refusal(*arguments, **options):
    """The one line of an error of use."""
    result = run(*arguments, **options)
    assert (result.returncode, result.stdout) == (2, ""), result
    line, rest = result.stderr.split("\n", 1)
    assert rest == "", result.stderr
    assert line.startswith("kafkapp")
    return line


def test_the_first_command_of_a_newcomer(file):
    result = run("produce", "--embedded", file)
    assert result.returncode == 0
    assert result.stdout.startswith("2 delivered, 0 failed: 6 bytes in ")
    assert re.search(r"^using an embedded cluster at 127\.0\.0\.1:\d+; its records are gone", result.stderr)
    assert f"no --topic: {file} goes to topic lines.txt\n" in result.stderr


def test_an_embedded_cluster_is_never_used_by_accident(file, monkeypatch):
    for variable in None, "":
        monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
        if variable is not None:
            monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", variable)
        for arguments in (), ("-t", "t"):
            line = refusal("produce", *arguments, file)
            assert all(word in line for word in ("-b ", "KAFKA_BOOTSTRAP_SERVERS", "--embedded"))
    assert "exclude" in refusal("produce", "--embedded", "-b", "127.0.0.1:1", file)


def test_brokers_of_the_environment(servers, file, monkeypatch):
    topic = new_topic()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", servers)
    assert "no topic: name it by -t" in refusal("produce", file)
    assert run("produce", "-t", topic, file).returncode == 0
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOWHERE)
    for given in ("-b", servers), ("-X", f"bootstrap.servers={servers}"):
        assert run("produce", *given, "-t", topic, file).returncode == 0      # these go above it
    assert len(read_messages(servers, topic)) == 6
    assert run("produce", "--embedded", file).returncode == 0


def test_real_brokers_need_a_topic(servers, file):
    """One named after the file, by accident, would be created in earnest."""
    assert "no topic: name it by -t" in refusal("produce", "-b", servers, file)


def test_mock_cluster_is_for_other_programs_until_ctrl_c():
    process = start("mock-cluster", "--brokers", "2")
    line = process.stdout.readline().decode()
    assert re.fullmatch(r"127\.0\.0\.1:\d+,127\.0\.0\.1:\d+\n", line)
    assert run("produce", "-b", line.strip(), "-t", "t", stdin=b"a").returncode == 0
    assert values(line.strip(), "t") == [b"a"]
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    assert finish(process, within=5) == (0, "", "")
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("arguments", [("--brokers", "0"), ("--brokers", "x"), ("--brokers", "101"), ("more",), ("--exec",), ("--port", 9092),
                                       *(("--topic", topic) for topic in ("", ":", ":4", "t:", "t:0", "t:-1", "t:10001", "t:x", "t:1:2", "t\n:1")),
                                       ("-t", "t", "-t", "t:3")])
def test_mock_cluster_refuses(arguments):
    refusal("mock-cluster", *arguments)


def test_versions():
    result = run("--version")
    assert result.returncode == 0
    patched = ", with kafkapp's patches" * librdkafka_is_patched()
    assert re.match(rf"kafkapp \S.*\nlibrdkafka {re.escape(kafkapp.librdkafka_version())}{patched}\nfeatures: {re.escape(', '.join(kafkapp.librdkafka_features()))}\n",
                    result.stdout)


def test_help_names_commands_and_completion():
    for arguments in ((), ("--help",), ("-h",)):
        result = run(*arguments)
        assert (result.returncode, result.stderr) == (0, "")
        for word in ("produce", "mock-cluster", "bench", "_KAFKAPP_COMPLETE=bash_source"):
            assert word in result.stdout


def test_shell_completion():
    result = run(env={"_KAFKAPP_COMPLETE": "bash_complete", "COMP_WORDS": "kafkapp pro", "COMP_CWORD": "1"})
    assert result.stdout == "plain,produce\n"


def test_it_does_not_import_what_it_does_not_need():
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "kafkapp", "produce", "--help"],
                          env=environment(), capture_output=True, timeout=30, check=True)
    assert b"click" in done.stderr
    assert not any(name in done.stderr for name in (b"rich", b"asyncio", b"kafkapp.bench", b"importlib.metadata"))




def test_errors_of_use(tmp_path, file):
    assert "No such file or directory" in refusal("produce", tmp_path / "missing")
    assert str(tmp_path / "missing") in refusal("produce", file, tmp_path / "missing")
    assert "Is a directory" in refusal("produce", tmp_path)
    assert "--sync and --manual" in refusal("produce", "--sync", "--manual", file)
    assert "--topic" in refusal("produce", "--topic", "", file)
    assert "--delimiter" in refusal("produce", "--delimiter", "", file)
    assert "--key-delimiter" in refusal("produce", "--key-delimiter", "", file)
    assert "--partition" in refusal("produce", "--partition", "-1", file)
    assert "--header" in refusal("produce", "--header", "nothing", file)
    assert "--header" in refusal("produce", "--header", "=value", file)
    assert "--timeout" in refusal("produce", "--timeout", "-1", file)
    assert "--timeout" in refusal("produce", "--timeout", "nan", file)
    assert "--unknown" in refusal("produce", "--unknown", file)
    assert "unknown" in refusal("unknown")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(file):
    file.chmod(0)
    assert "Permission denied" in refusal("produce", file)


@pytest.mark.parametrize("option", ["-b", "-t", "-X", "-F", "-H", "-K", "-D", "-p", "--timeout"])
def test_an_option_whose_value_is_empty(file, option):
    """As of a variable of the shell that is not set: never the same as no option."""
    line = refusal("produce", option, "", file)
    assert option in line and "embedded" not in line


@pytest.mark.parametrize("option", ["-b", "-r", "--scale", "--plot"])
def test_an_option_of_the_benchmarks_whose_value_is_empty(option):
    assert option in refusal("bench", option, "", "callback")


def test_a_file_whose_name_is_empty(file):
    assert "FILE" in refusal("produce", "-t", "t", file, "")


@pytest.mark.parametrize("name", ["bootstrap.servers", "metadata.broker.list"])
def test_servers_that_are_set_and_empty_are_no_embedded_cluster(tmp_path, file, name):
    settings = tmp_path / "client.properties"
    settings.write_text(f"{name}=\nacks=all\n")
    for arguments in (("-X", f"{name}="), ("-F", settings), ("-X", f"{name}= "), ("-X", f"{name}=,")):
        line = refusal("produce", "-t", "t", *arguments, file)
        assert f"{name} is empty" in line
    for name in ("test.mock.num.brokers", "transactional.id", "ssl.ca.location", "security.protocol"):
        assert f"{name} is empty" in refusal("produce", "-b", "127.0.0.1:1", "-t", "t", "-X", f"{name}=", file)



def test_nothing_is_sent_when_one_file_is_missing(servers, file):
    topic = new_topic()
    refusal("produce", "-b", servers, "-t", topic, file, "missing")
    assert run("produce", "-b", servers, "-t", topic, stdin=b"only this").returncode == 0
    assert values(servers, topic) == [b"only this"]


def test_unknown_and_wrong_properties(servers, file):
    assert "lingre.ms" in refusal("produce", "--embedded", "-X", "lingre.ms=5", file)
    assert "lingre.ms" in refusal("produce", "-b", servers, "-t", "t", "-X", "lingre.ms=5", file)
    assert "retries" in refusal("produce", "-b", servers, "-t", "t", "-X", "retries=often", file)
    assert "acks" in refusal("produce", "-b", servers, "-t", "t", "-X", "enable.idempotence=true", "-X", "acks=0", file)


@pytest.mark.parametrize("mode", [(), ("--manual",), ("--sync",)], ids=["async", "manual", "sync"])
def test_an_unreachable_broker(file, mode):
    begin = time.monotonic()
    line = refusal("produce", *mode, "-b", NOWHERE, "-t", "t", "--timeout", "0.5", file)
    assert time.monotonic() - begin < 5
    assert f"no broker reachable at {NOWHERE} within 0.5 s" in line


def test_properties_from_a_file(servers, tmp_path, file):
    topic = new_topic()
    settings = tmp_path / "client.properties"
    settings.write_text(f"# a comment\n! another\n\n bootstrap.servers = {servers}\nmessage.max.bytes=10\nacks=1\n")
    result = run("produce", "-F", settings, "-t", topic, file)
    assert result.returncode == 2 and "message.max.bytes" in result.stderr
    result = run("produce", "-F", settings, "-X", "message.max.bytes=1000", "-t", topic, file)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(values(servers, topic)) == [b"one", b"two"]


def test_bootstrap_servers_go_above_properties(servers, tmp_path, file):
    topic = new_topic()
    result = run("produce", "-X", "bootstrap.servers=127.0.0.1:1", "-b", servers, "-t", topic, file)
    assert result.returncode == 0
    assert len(read_messages(servers, topic)) == 2
    result = run("produce", "-X", f"metadata.broker.list={servers}", "-t", topic, file)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(read_messages(servers, topic)) == 4
    result = run("produce", "-X", "bootstrap.servers=127.0.0.1:1", "-X", "metadata.broker.list=127.0.0.1:2", "-b", servers, "-t", topic, file)
    assert (result.returncode, result.stderr) == (0, "")
    settings = tmp_path / "client.properties"
    settings.write_text("metadata.broker.list=127.0.0.1:1\n")
    result = run("produce", "-F", settings, "-X", f"bootstrap.servers={servers}", "-t", topic, file)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(read_messages(servers, topic)) == 8


def test_errors_in_properties(tmp_path, file):
    settings = tmp_path / "client.properties"
    for wrong in ("secret-word", "=secret-word", ": secret-word"):
        settings.write_text(f"acks=1\n{wrong}\n")
        line = refusal("produce", "-F", settings, file)
        assert f"{settings}:2: expected key=value" in line and "secret-word" not in line
    settings.write_bytes(b"acks=1\nclient.id=secret-word\xff\n")
    line = refusal("produce", "-F", settings, file)
    assert f"{settings}:2: not UTF-8" in line and "secret-word" not in line
    settings.write_text("acks=1\n\nsasl.password=secret-word\\u12\n")
    line = refusal("produce", "-F", settings, file)
    assert f"{settings}:3: expected four hexadecimal digits" in line and "secret-word" not in line
    assert "No such file" in refusal("produce", "-F", tmp_path / "missing", file)
    line = refusal("produce", "-X", "secret-word", file)
    assert "expected key=value" in line and "secret-word" not in line


@pytest.mark.parametrize("name", ["ssl.key.pem", "ssl.keystore.password", "ssl.ca.pem"])
def test_secrets_are_never_printed(servers, tmp_path, file, name):
    settings = tmp_path / "client.properties"
    settings.write_text(f"{name}=secret-word\nsecurity.protocol=ssl\nlingre.ms=1\n")
    for arguments in (("-F", settings), ("-v", "-X", f"{name}=secret-word", "-X", "security.protocol=ssl")):
        result = run("produce", "-b", servers, "--timeout", "0.5", *arguments, file)
        assert result.returncode == 2
        assert "secret-word" not in result.stdout + result.stderr


def test_logs_are_shown_when_asked_for(servers, file):
    quiet = run("produce", "-b", servers, "-t", "t", file)
    loud = run("produce", "-b", servers, "-t", "t", "-X", "debug=broker", file)
    assert quiet.stderr == ""
    assert "CONNECT" in loud.stderr.upper()


