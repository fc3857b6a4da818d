import subprocess
import sys

import pytest

from model import torchvision_ops
from tests.support import ROOT

WITHOUT_OPERATORS = """
import torch
def unloadable(path):
    raise OSError("libcudart.so: cannot open shared object file")
torch.ops.load_library = unloadable
from model import torchvision_ops
import torchvision
assert torchvision_ops.DECLARED == ("nms", "qnms"), torchvision_ops.DECLARED
"""


@pytest.mark.slow
def test_torchvision_imports_where_its_operators_cannot_be_loaded() -> None:
    """In an interpreter of its own, because operators can be declared only once."""
    result = subprocess.run([sys.executable, "-c", WITHOUT_OPERATORS], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr


def test_nothing_is_declared_where_torchvisions_own_operators_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_ops, "_load_compiled_operators", lambda: True)
    monkeypatch.setattr("torch.library.define", lambda name, _: pytest.fail(f"{name} was declared"))

    assert torchvision_ops.declare_missing_operators() == ()
