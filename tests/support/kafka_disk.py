"""A Kafka node with a full disk: its data moves to a tmpfs of some megabytes, and back.

Needs the right to mount, which root has.
"""
import contextlib
import os
import shutil
import subprocess

from kafka_cluster import wait_until


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=20)


def may_mount(folder):
    """Whether this process may mount; tried out."""
    try:
        mount("-t", "tmpfs", "-o", "size=1m", "none", folder)
    except (OSError, subprocess.SubprocessError):
        return False
    subprocess.run(["umount", folder], check=True, timeout=20)
    return True


class SmallDisk:
    """While in the block the data of a node is on a disk with `megabytes` more than it has; the node is restarted at both ends."""

    def __init__(self, cluster, node, megabytes=64):
        self.cluster, self.node, self.megabytes = cluster, node, megabytes
        self.folder = node.folder / "data"
        self.aside = node.folder / "data-aside"
        self.ballast = self.folder / "ballast"

    def __enter__(self):
        self.node.stop()
        self.folder.rename(self.aside)
        self.folder.mkdir()
        # Indexes are made in full length and mostly empty: on the new disk they are not.
        there = sum(path.stat().st_size for path in self.aside.rglob("*") if path.is_file())
        mount("-t", "tmpfs", "-o", f"size={self.megabytes + (there >> 20)}m", "none", self.folder)
        shutil.copytree(self.aside, self.folder, dirs_exist_ok=True)
        self.start()
        return self

    def __exit__(self, *failure):
        self.node.kill()
        self.free()
        shutil.rmtree(self.aside)
        shutil.copytree(self.folder, self.aside)
        subprocess.run(["umount", "--lazy", self.folder], check=True, timeout=20)
        self.folder.rmdir()
        self.aside.rename(self.folder)
        self.start()

    def start(self):
        self.node.start()
        self.cluster.wait_ready({self.node.id})

    def fill(self):
        """Another program takes all that is left."""
        with open(self.ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self):
        self.ballast.unlink(missing_ok=True)

    def wait_dead(self, timeout=60):
        """Kafka ends when its only folder of logs fails."""
        wait_until(lambda: not self.node.running, timeout, f"node {self.node.id} to exit")

    def left(self):
        """Bytes that are free."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize
