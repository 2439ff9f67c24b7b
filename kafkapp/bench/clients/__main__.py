"""The process of one case: ``python clients CLIENT JSON`` runs it and prints one line of JSON.

Layer L5. Run by its directory, so that no client pays for importing the package of another.
"""
import importlib
import json
import sys

from meter import Run  # type: ignore[import-not-found]


def main() -> None:
    client, asked = sys.argv[1], json.loads(sys.argv[2])
    run = Run(asked)
    importlib.import_module(client).PATHS[run.path](run)
    run.print()


main()
