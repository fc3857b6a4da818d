"""Importing the handler changes nothing in the host process."""

import subprocess
import sys

import pytest

from tests.support import ROOT

_IMPORT_EVERYTHING = """
import importlib, pkgutil, signal, sys, warnings
import torch
from PIL import Image, ImageFile, TiffImagePlugin
import ts.context

def state():
    # A filter that a third-party package adds for its own warnings is not ours to judge.
    filters = [entry for entry in warnings.filters if entry[2].__module__ == "builtins"]
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    flags = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, TiffImagePlugin.READ_LIBTIFF
    return {
        "Pillow": flags,
        "warnings": filters,
        "signals": handlers,
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "hooks": (sys.excepthook, sys.unraisablehook),
    }

before = state()
import handler.pipeline
import handler
for module in pkgutil.walk_packages(handler.__path__, "handler."):
    importlib.import_module(module.name)
after = state()
assert len([name for name in sys.modules if name.startswith("handler.")]) > 40
print({name: (before[name], after[name]) for name in before if before[name] != after[name]})
"""


@pytest.mark.slow
def test_importing_every_module_changes_no_global_state() -> None:
    result = subprocess.run([sys.executable, "-c", _IMPORT_EVERYTHING], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout == "{}\n"
