"""Node and its packages in `page/`, for the tests of the page."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

PAGE = ROOT / "page"


def run_npm(script: str, *arguments: str, **environment: str) -> str:
    """Run a script of `page/package.json` and return its output; skip the test if Node or its packages are missing."""
    npm = find_npm()
    command = [npm, "run", "-s", script, "--", *arguments]
    variables = {**os.environ, "NO_COLOR": "1", **environment}
    result = subprocess.run(command, cwd=PAGE, env=variables, capture_output=True, text=True)
    if result.returncode:
        pytest.fail(f"npm run {script} ended with {result.returncode}\n{result.stdout}\n{result.stderr}", pytrace=False)
    return result.stdout


def find_npm() -> str:
    """Return npm's path; skip the test if it or the page's packages are missing."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("Node is not installed, so the page is neither built nor tried in a browser")
    if not (PAGE / "node_modules" / "vite").is_dir():
        pytest.skip("`make page` has not installed the page's packages, so it is neither built nor tried in a browser")
    return npm


def find_chromium() -> Path:
    """Return the browser's path; skip the test if none is installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return Path(path)
    pytest.skip("Chromium is not installed, so the page is not tried in a browser")


def try_page(address: str, photographs: Path, *files: str, **environment: str) -> str:
    """Run the named browser tests (`page/e2e/NAME.e2e.ts`) on the page at `address`, and return their output.

    Args:
        photographs: folder of the samples.
        environment: `API_URL`, if the API is not at `address`; for `page`, `SAVED`, a folder for what the page saves, and
            `OTHER_ORIGIN`, from which the page is tried too.
    """
    return run_npm("e2e", *files, CHROMIUM=str(find_chromium()), PAGE_URL=address, PHOTOGRAPHS=str(photographs), **environment)
