"""What the build's scripts share: the error that says what to do, the word to people, a command and its output.

Knows nothing else of ours.
"""
import shlex
import subprocess
import sys


class BuildError(Exception):
    """The build cannot go on; the text says what to do."""


class Unreachable(BuildError):
    """A source could not be fetched: another one may do."""


def say(text):
    for line in text.splitlines():
        print(f"kafkapp: {line}", file=sys.stderr, flush=True)


def run(*command, **options):
    """The output of a command, of which nothing is shown unless it fails."""
    try:
        return subprocess.run(command, check=True, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **options).stdout
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{shlex.join(map(str, command[:6]))} failed:\n{error.stdout[-4000:]}") from error
