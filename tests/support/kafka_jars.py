"""Apache Kafka's jars, fetched once by Maven into the user's cache folder, and the Java that runs them.

Standard library only. Knows nothing of nodes, ports or topics.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

KAFKA_VERSION = os.environ.get("KAFKAPP_TEST_KAFKA_VERSION", "4.3.0")
LOG4J_VERSION = "2.25.4"  # without its SLF4J binding the broker's log stays empty
MINIMUM_JAVA = 17

POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>kafkapp</groupId> <artifactId>kafka-for-tests</artifactId> <version>1</version>
  <dependencies>
    <dependency> <groupId>org.apache.kafka</groupId> <artifactId>kafka_2.13</artifactId> <version>{kafka}</version> </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId> <artifactId>log4j-slf4j-impl</artifactId> <version>{log4j}</version>
    </dependency>{more}
  </dependencies>
</project>
"""
# Kafka's command-line programs, ProducerPerformance among them.
TOOLS = "<dependency> <groupId>org.apache.kafka</groupId> <artifactId>kafka-tools</artifactId> <version>{kafka}</version> </dependency>"


class KafkaUnavailable(Exception):
    """A real Kafka cannot run here; the text says what is missing."""


def may_not_be_left_out():
    """Whether tests fail that lack what they need, instead of being skipped."""
    return bool(os.environ.get("KAFKAPP_TEST_REQUIRE_KAFKA") or os.environ.get("CI"))


def find_java():
    """The java program to use: of JAVA_HOME, else of PATH; raises KafkaUnavailable when it is missing or too old."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=os.path.join(home, "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        raise KafkaUnavailable(f"no java found (Java {MINIMUM_JAVA} or later is needed)")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version.group(1)) < MINIMUM_JAVA:
        raise KafkaUnavailable(f"Java {MINIMUM_JAVA} or later is needed, found: {said.splitlines()[:1]}")
    return java


def cache_folder():
    """Where what tests fetch is kept between their runs: never inside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(pathlib.Path.home(), ".cache")
    return pathlib.Path(base) / "kafkapp-tests"


def find_jars(version=KAFKA_VERSION, tools=False):
    """The folder that holds the broker's jars, and the tools', filled by Maven the first time (about seven seconds)."""
    jars = cache_folder() / f"kafka-{version}{'-tools' if tools else ''}-log4j-{LOG4J_VERSION}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable(f"no mvn found to fetch Apache Kafka {version}'s jars")
    jars.parent.mkdir(parents=True, exist_ok=True)
    pom = POM.format(kafka=version, log4j=LOG4J_VERSION, more=TOOLS.format(kafka=version) if tools else "")
    # Filled beside its place and renamed, so that a run that was stopped half way leaves no half-filled cache.
    with tempfile.TemporaryDirectory(dir=jars.parent) as work:
        pathlib.Path(work, "pom.xml").write_text(pom)
        command = [
            maven,
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DoutputDirectory=jars",
            "-DincludeScope=runtime",
        ]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise KafkaUnavailable(f"mvn could not fetch Apache Kafka {version}: {(done.stdout + done.stderr)[-800:]}")
        try:
            os.rename(os.path.join(work, "jars"), jars)
        except OSError:
            if not jars.is_dir():  # else another run was faster
                raise
    return jars
