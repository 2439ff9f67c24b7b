"""Summary of the command line for a machine (`--json`)."""
import json
from typing import Any

from kafkapp.cli.tally import Tally


def summary(tally: Tally, *, interrupted: bool = False, error: str | None = None, embedded: bool = False,
            cause: str | None = None, rejects: dict[str, Any] | None = None, dry_run: bool = False) -> str:
    """One line of JSON, whichever way the command ends.

    Args:
        error: why it ended early, or could not begin.
        cause: what the client says of its connections, if that explains failures.
        rejects: the file of rejected lines and their number.
    """
    counts = tally.as_dict()
    if dry_run:
        counts["delivered"] = 0
    return json.dumps({**counts, "interrupted": interrupted, "error": error, "cause": cause, "embedded": embedded,
                       "rejects": rejects, "dry_run": dry_run})
