"""The programs of docs/guide/worker_pools.md under the servers themselves: what was sent is delivered when the server is stopped."""
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from helpers import ROOT, consume, wait_for

# Nothing is delivered before the producer is closed.
HELD = '"linger.ms": 60000, "bootstrap.servers": '


@pytest.fixture
def run(broker, topic, tmp_path):
    """`run(*arguments)` starts a Python module beside the page's programs; run.stop() sends it SIGTERM."""
    page = (ROOT / "docs/guide/worker_pools.md").read_text()
    for name, text in re.findall(r"^```python no-run\n# (\S+\.py)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text.replace('"orders"', repr(topic)).replace('"bootstrap.servers": ', HELD))
    running = []

    def start(*arguments, **environment):
        made = os.environ | {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "PYTHONSAFEPATH": "", "PYTHONUNBUFFERED": "1"}
        made["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path[1:]])
        with open(tmp_path / "output", "w") as output:
            running.append(subprocess.Popen([sys.executable, "-m", *arguments], cwd=tmp_path, env=made | environment, stdout=output,
                                            stderr=subprocess.STDOUT))
        return lambda: (tmp_path / "output").read_text()

    def stop():
        running[0].send_signal(signal.SIGTERM)
        # uvicorn raises the signal again at its end.
        assert running[0].wait(60) in (0, -signal.SIGTERM), (tmp_path / "output").read_text()

    start.stop = stop
    yield start
    for process in running:
        process.kill()
        process.wait()


def asked(output, text):
    """Ask ten times at the address that the server says."""
    address = wait_for(lambda: re.search(rf"{text} (http://127\.0\.0\.1:\d+)", output()), 60)[1]
    for number in range(10):
        with urllib.request.urlopen(f"{address}/{number}", timeout=30) as response:
            assert response.status == 204


def delivered(broker, topic):
    return sorted(message.value() for message in consume(broker, topic, 10))


PATHS = [b"/%d" % number for number in range(10)]


@pytest.mark.parametrize("more", [[], ["--preload"]], ids=["", "preload"])
def test_gunicorn(broker, topic, run, more):
    pytest.importorskip("gunicorn")
    asked(run("gunicorn", "-w", "2", "-b", "127.0.0.1:0", *more, "orders:app"), "Listening at:")
    run.stop()
    assert delivered(broker, topic) == PATHS


def test_uvicorn(broker, topic, run):
    pytest.importorskip("uvicorn")
    output = run("uvicorn", "--port", "0", "asgi:app")
    asked(output, "running on")
    run.stop()
    assert delivered(broker, topic) == PATHS


def test_celery(broker, topic, run, tmp_path):
    celery = pytest.importorskip("celery")
    queue = tmp_path / "queue"
    (tmp_path / "celeryconfig.py").write_text(
        f"broker_transport_options = dict.fromkeys(('data_folder_in', 'data_folder_out'), {str(queue)!r})\n"
        f"broker_transport_options['control_folder'] = {str(tmp_path / 'control')!r}\n"
        "result_backend = 'file://' + broker_transport_options['control_folder']\n")
    for folder in queue, tmp_path / "control":
        folder.mkdir()
    with open(tmp_path / "tasks.py", "a") as tasks:
        tasks.write("\napp.config_from_object('celeryconfig')\n")
    app = celery.Celery("tasks", broker="filesystem://")
    app.conf.update(broker_transport_options={"data_folder_in": str(queue), "data_folder_out": str(queue),
                                              "control_folder": str(tmp_path / "control")}, result_backend=f"file://{tmp_path / 'control'}")
    output = run("celery", "-A", "tasks", "worker", "--pool", "prefork", "-c", "2", "--loglevel", "INFO", CELERY_BROKER_URL="filesystem://")
    for number in range(10):
        app.send_task("tasks.order", (f"/{number}",))
    wait_for(lambda: output().count("succeeded in") == 10, 60)
    run.stop()
    assert delivered(broker, topic) == PATHS
