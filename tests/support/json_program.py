"""Programs that print JSON objects, one a line, as those of Kafka's system tests do: read as they come."""
import json
import signal
import subprocess
import threading

from kafka_admin import wait_until
from kafka_jars import find_jars

SECONDS = 120


class Program:
    """Started at once.

    Attributes:
        events: what it has printed, in order.
    """

    def __init__(self, command, log):
        self.events = []
        self._log = open(log, "ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        self._thread = threading.Thread(target=self._read, name="program")
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{") and line.endswith("}\n"):        # Java's logs may stand between, a line ends where it is killed
                self.events.append(json.loads(line))

    def named(self, name):
        return [event for event in list(self.events) if event["name"] == name]

    def wait_for_more(self, name, more):
        goal = len(self.named(name)) + more
        wait_until(lambda: len(self.named(name)) >= goal or self.process.poll() is not None, SECONDS, f"{more} x {name}")
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.events[-3:]}"

    def end(self):
        """By SIGTERM, as system tests do."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(SECONDS)
        self._thread.join(SECONDS)
        return status

    def close(self):
        self.process.kill()
        self.process.wait(SECONDS)
        self._thread.join(SECONDS)
        self.process.stdout.close()
        self._log.close()


def kafka_tool(cluster, folder, name):
    """The command of one of Kafka's own tools, without its arguments."""
    command = cluster.java_command(folder)
    command[-1] = f"{find_jars(tools=True)}/*"
    return [*command, f"org.apache.kafka.tools.{name}"]
