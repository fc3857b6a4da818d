"""The program `python -m scripts.rasters`; `command` describes it."""

import sys

from scripts.errors import report_errors
from scripts.rasters.command import run


@report_errors
def main(argv: list[str] | None = None) -> int:
    return run(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
