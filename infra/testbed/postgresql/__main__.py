"""Give the folder of a PostgreSQL's programs: `python -m infra.testbed.postgresql 13 --cache X`."""

import argparse
import sys
from pathlib import Path

from infra.testbed.postgresql.packages import NEWEST, OLDEST, provide
from tasks.guardrails.errors import RemediationError


def main() -> None:
    """Read the command line, and print the folder."""
    parser = argparse.ArgumentParser(prog="python -m infra.testbed.postgresql", description=__doc__)
    parser.add_argument("major", type=int, choices=range(OLDEST, NEWEST + 1))
    parser.add_argument("--cache", type=Path, required=True, help="where packages are unpacked")
    given = parser.parse_args()
    try:
        programs = provide(given.major, given.cache.resolve())
    except RemediationError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{programs}\n")


if __name__ == "__main__":
    main()
