"""Apache Kafka on loopback, in KRaft mode, one node or more: started, paused, killed, restarted.

Must not import kafkapp or pytest. No java process outlives this one: stop() kills them, atexit calls it, and the kernel
does so when this process is killed.
"""

import atexit
import base64
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
import zlib

from kafka_admin import ClusterAdmin, wait_until
from kafka_jars import find_jars, find_java
from kafka_wire import ask_metadata

HOST = "127.0.0.1"
# Below the range that the kernel takes client ports from (32768 on): a client that tries a stopped node's port could
# otherwise be given that very port and be connected to itself, and the node could not come back.
PORTS = range(20000, 32000)

# With the archive of parsed classes (class_archive) a node is up in half the time.
JVM = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]

LOG4J = """
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = OUT
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c{1})%n
"""

# kafka.md's recipe, with timeouts short enough for tests: a dead broker is noticed in four seconds, not nine.
CONFIG = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "num.partitions": 5,
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 3000,  # of members by KIP-848, which do not say it themselves
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.heartbeat.interval.ms": 500,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 4,
    "broker.session.timeout.ms": 4000,
    "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 4000,
    "controller.quorum.election.timeout.ms": 1000,
    "controlled.shutdown.enable": "true",
    "log.retention.check.interval.ms": 3600000,
    "log.cleaner.backoff.ms": 200,
}

_launcher = concurrent.futures.ThreadPoolExecutor(1, "kafka-launcher")
_taken = set()


def pick_ports(count):
    """Free loopback ports, never the same twice in one process."""
    found = []
    candidates = random.SystemRandom().sample(PORTS, len(PORTS))
    for port in candidates:
        if len(found) == count:
            break
        if port in _taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _taken.add(port)
        found.append(port)
    return found


def process_state(pid):
    """The kernel's letter for it: T stopped, Z or X over, R and S alive."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


@functools.cache
def class_archive(java, jars):
    """The JVM's archive of the broker's classes, kept beside the jars; made by one node's start and stop, once."""
    mark = f"{os.path.realpath(java)} {os.stat(java).st_mtime_ns}"
    archive = jars.parent / f"{jars.name}-{zlib.crc32(mark.encode()):08x}.jsa"
    if not archive.exists():
        unfinished = archive.with_suffix(f".{os.getpid()}")
        cluster = KafkaCluster(1, node_options=[f"-XX:ArchiveClassesAtExit={unfinished}"])
        try:
            cluster.start()
            cluster.nodes[1].stop(timeout=120)  # it writes the archive on its way out
            with contextlib.suppress(FileNotFoundError):  # a JVM without class sharing does not write one
                os.rename(unfinished, archive)
        finally:
            cluster.stop()
            unfinished.unlink(missing_ok=True)
    return archive


@dataclasses.dataclass
class Listener:
    """One way into a node: where it listens, and the port that it advertises to its clients (a proxy's, perhaps)."""

    protocol: str
    port: int
    advertised_port: int


class Node:
    """One broker (and controller) process with a folder of its own."""

    def __init__(self, cluster, node_id, listeners, controller_port):
        self.id = node_id
        self.listeners = listeners
        self.controller_port = controller_port
        self.folder = cluster.folder / f"node-{node_id}"
        self.log_file = self.folder / "server.log"
        self.process = None
        self._cluster = cluster
        self._lock = threading.Lock()

    @property
    def port(self):
        return self.listeners["PLAINTEXT"].port

    @property
    def pid(self):
        return self.process.pid

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        """Start the process and return at once; the cluster's wait_ready() returns when it serves."""
        _launcher.submit(self._launch).result()

    def _launch(self):
        # Runs in the launcher thread: the kernel sends the child's death signal when the *thread* that started it
        # ends, and that one lives as long as this process.
        with self._lock:
            if self.running:
                return
            command = [
                *self._cluster.java_command(self.folder, self._cluster.node_options),
                "kafka.Kafka",
                str(self.folder / "server.properties"),
            ]
            if shutil.which("setpriv"):
                command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
            with open(self.log_file, "ab") as log:
                # A session of its own, so that Ctrl-C in a terminal does not reach it: stopping it is stop()'s work.
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )

    def _signal(self, number):
        if self.running:
            os.kill(self.process.pid, number)

    def pause(self):
        """SIGSTOP, and wait until it stands still: the node holds its connections open and answers nothing."""
        self._signal(signal.SIGSTOP)
        if self.running:
            wait_until(lambda: process_state(self.pid) in "TZX", 10, f"node {self.id} to stand still")

    def resume(self):
        self._signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL, and wait until it is gone: no goodbye to the controller, no flush."""
        with self._lock:
            self._signal(signal.SIGKILL)
            if self.process is not None:
                self.process.wait(30)

    def stop(self, timeout=30):
        """SIGTERM: a controlled shutdown that moves leaders away first; SIGKILL when it takes longer."""
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self, timeout=60):
        """stop(), start(), and wait until the cluster counts it in again."""
        self.stop()
        self.start()
        self._cluster.wait_ready({self.id}, timeout)

    @contextlib.contextmanager
    def paused(self):
        self.pause()
        try:
            yield self
        finally:
            self.resume()

    @contextlib.contextmanager
    def slowed(self, share=0.1, period=0.1):
        """While in the block the process runs only `share` of the time: a broker that is slow, not gone."""
        done = threading.Event()

        def work():
            while not done.is_set():
                self.pause()
                done.wait(period * (1 - share))
                self.resume()
                done.wait(period * share)

        thread = threading.Thread(target=work, name=f"slow-node-{self.id}", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()
            self.resume()

    def log_tail(self, lines=30):
        return (
            "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:]) if self.log_file.exists() else ""
        )


class KafkaCluster(ClusterAdmin):
    """A cluster of `nodes` processes; a context manager that starts it and always cleans up.

    Args:
        nodes: how many; factors and minimums of the replicas follow (one: 1 and 1, three: 3 and 2).
        config: more lines for server.properties.
        listeners: more listeners on each node, name to security protocol; see servers().
        proxied: each node gets a listener PROXY that advertises another port, `listeners["PROXY"].advertised_port`,
            on which the test puts a proxy to `listeners["PROXY"].port`: clients that enter there stay behind it.
        folder: where the nodes keep data and logs; else a temporary one, removed by stop().
        format_arguments: for the storage tool, such as `--add-scram` and its value.
        node_options: for the JVM of each node, in place of the class archive's.
    """

    def __init__(
        self, nodes=1, *, config=None, listeners=None, proxied=True, folder=None, format_arguments=(), node_options=None
    ):
        super().__init__(None)
        self._own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="kafkapp-kafka-"))
        self.cluster_id = base64.urlsafe_b64encode(b"k" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        self._java = find_java()
        self._jars = find_jars()
        self._config = dict(config or {})
        self._format_arguments = list(format_arguments)
        self.node_options = node_options
        for node_id in range(1, nodes + 1):
            found = {"PLAINTEXT": Listener("PLAINTEXT", *pick_ports(1) * 2)}
            for name, protocol in (listeners or {}).items():
                found[name] = Listener(protocol, *pick_ports(1) * 2)
            if proxied:
                found["PROXY"] = Listener("PLAINTEXT", *pick_ports(2))
            self.nodes[node_id] = Node(self, node_id, found, *pick_ports(1))
        self.bootstrap_servers = self.servers()
        atexit.register(self.stop)

    def servers(self, listener="PLAINTEXT"):
        """The bootstrap.servers text for that listener."""
        return ",".join(f"{HOST}:{node.listeners[listener].advertised_port}" for node in self.nodes.values())

    def replica_count(self):
        return min(3, len(self.nodes))

    def java_command(self, folder, options=None):
        if options is None:
            archive = class_archive(self._java, self._jars)
            options = [f"-XX:SharedArchiveFile={archive}", "-Xlog:disable"] if archive.exists() else []
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        return [self._java, *JVM, *options, log4j, f"-Dkafka.logs.dir={folder}", "-cp", f"{self._jars}/*"]

    def _properties(self, node):
        voters = ",".join(f"{n.id}@{HOST}:{n.controller_port}" for n in self.nodes.values())
        replicas = self.replica_count()
        protocols = {name: listener.protocol for name, listener in node.listeners.items()}
        lines = CONFIG | {
            "node.id": node.id,
            "controller.quorum.voters": voters,
            "listeners": ",".join(
                [f"{name}://{HOST}:{l.port}" for name, l in node.listeners.items()]
                + [f"CONTROLLER://{HOST}:{node.controller_port}"]
            ),
            "advertised.listeners": ",".join(
                f"{name}://{HOST}:{l.advertised_port}" for name, l in node.listeners.items()
            ),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in (protocols | {"CONTROLLER": "PLAINTEXT"}).items()
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": node.folder / "data",
            "default.replication.factor": replicas,
            "min.insync.replicas": 2 if replicas > 1 else 1,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": 2 if replicas > 1 else 1,
        }
        return "".join(f"{name}={value}\n" for name, value in (lines | self._config).items())

    def _format(self):
        (self.folder / "log4j2.properties").write_text(LOG4J)
        tools = []
        for node in self.nodes.values():
            node.folder.mkdir(parents=True, exist_ok=True)
            properties = node.folder / "server.properties"
            properties.write_text(self._properties(node))
            command = [
                *self.java_command(node.folder, self.node_options and []),
                "kafka.tools.StorageTool",
                "format",
                "-t",
                self.cluster_id,
                "-c",
                str(properties),
                *self._format_arguments,
            ]
            tools.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        for tool in tools:
            said = tool.communicate(timeout=120)[0]
            if tool.returncode != 0:
                raise RuntimeError(f"the storage tool failed: {said[-2000:]}")

    def start(self, timeout=90):
        """Format the folders, start every node, wait until all serve."""
        try:
            self._format()
            for node in self.nodes.values():
                node.start()
            self.wait_ready(timeout=timeout)
        except BaseException:
            self.stop(keep_logs=True)
            raise
        return self

    def wait_ready(self, ids=None, timeout=60):
        """Wait until the metadata lists these nodes (all): an open port says nothing yet."""
        ids = set(ids or self.nodes)

        def ask():
            for node in self.nodes.values():
                if node.id in ids and not node.running:
                    raise RuntimeError(f"node {node.id} ended by itself:\n{node.log_tail()}")
            # Each is asked itself: for some seconds after a kill the others still list the node that died.
            return len(self.views()) == sum(node.running for node in self.nodes.values()) and ids <= self.brokers()

        wait_until(ask, timeout, f"nodes {sorted(ids)} in the cluster")

    def heal(self, timeout=60):
        """Resume what is paused, start what is down, wait until every topic has all its replicas in sync again."""
        for node in self.nodes.values():
            node.resume()
            node.start()
        self.wait_ready(timeout=timeout)
        self.wait_in_sync(timeout=timeout)

    def views(self, topic=None):
        """As each node sees it that runs and is not paused; empty when one of them does not answer."""
        try:
            return [
                ask_metadata(HOST, node.port, topic)
                for node in self.nodes.values()
                if node.running and process_state(node.pid) != "T"
            ]
        except OSError:
            return []

    @contextlib.contextmanager
    def paused(self, ids=None):
        """While in the block, these nodes (all) are stopped by SIGSTOP."""
        chosen = [self.nodes[i] for i in ids or self.nodes]
        try:
            for node in chosen:
                node.pause()
            yield
        finally:
            for node in chosen:
                node.resume()

    def pause_for(self, seconds, ids=None):
        """Pause now and resume after `seconds` from a thread; returns the thread."""
        started = threading.Event()

        def work():
            with self.paused(ids):
                started.set()
                time.sleep(seconds)  # the length of the fault itself: nothing to wait for

        thread = threading.Thread(target=work, name="kafka-pause", daemon=True)
        thread.start()
        started.wait()
        return thread

    def logs(self):
        return [node.log_file for node in self.nodes.values() if node.log_file.exists()]

    def stop(self, keep_logs=False):
        """Kill every node and remove the data; with `keep_logs` the nodes' logs and settings stay. A second call is a no-op."""
        atexit.unregister(self.stop)
        self.close()
        for node in self.nodes.values():
            node.kill()
        for node in self.nodes.values():
            shutil.rmtree(node.folder / "data", ignore_errors=True)
        if self._own_folder and not keep_logs:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *failure):
        self.stop(keep_logs=failure[0] is not None)
