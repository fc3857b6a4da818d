"""Programs answer --help, and refuse an unknown option, before they import what takes seconds."""

import json
import subprocess
import sys

import pytest

from tests.support import ROOT

#: Prints each program's result by its name, in one process because starting Python takes longer than the calls.
_CALL_ALL = """
import contextlib, importlib, io, json, sys
from pathlib import Path

HEAVY = {"matplotlib", "nncf", "openvino", "ray", "rasterio", "timm", "torch", "torchvision"}
scripts = Path("scripts")
files = [*scripts.glob("*/__main__.py"), *(file for file in scripts.glob("*.py") if "def main(argv" in file.read_text())]
outcomes = {}
for file in sorted(files):
    name = ".".join(file.with_suffix("").parts)
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        main = importlib.import_module(name).main
        try:
            main(["--help"])
        except SystemExit as end:
            help_code = end.code
        error_code = main(["--no-such-option"])
    outcomes[name] = {
        "help": (help_code, out.getvalue().partition(" ")[0]),
        "unknown option": (error_code, errors.getvalue().partition(" ")[0]),
        "imported": sorted(HEAVY & set(sys.modules)),
    }
print(json.dumps(outcomes))
"""


@pytest.mark.slow
def test_no_program_imports_networks_or_runtimes_before_it_parses_its_options() -> None:
    result = subprocess.run([sys.executable, "-c", _CALL_ALL], cwd=ROOT, capture_output=True, text=True, check=True)

    outcomes = json.loads(result.stdout)
    assert {"scripts.calibrate.__main__", "scripts.package.__main__", "scripts.train"} <= outcomes.keys()
    expected = {"help": [0, "usage:"], "unknown option": [2, "error:"], "imported": []}
    assert {name: outcome for name, outcome in outcomes.items() if outcome != expected} == {}
