"""Process of one case: ``python clients CLIENT JSON`` runs it and prints one line of JSON.

Run by its directory, so that no client imports the package of another.
"""
import importlib
import json
import sys

from meter import Run  # type: ignore[import-not-found]


def main() -> None:
    client, parameters = sys.argv[1], json.loads(sys.argv[2])
    run = Run(parameters)
    importlib.import_module(client).PATHS[run.path](run)
    run.print()


main()
