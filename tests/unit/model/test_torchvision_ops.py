import subprocess
import sys

import pytest

from model import torchvision_ops
from scripts.package import DEFAULT_CHECKPOINT
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


#: The compiler takes 70 MB, which a worker would keep after its first explanation.
WITHOUT_THE_COMPILER = """
import sys
from pathlib import Path
from model.checkpoint import load_checkpoint
network = load_checkpoint(Path(sys.argv[1])).network
assert "torchvision" in sys.modules and not {"torch._dynamo", "sympy"} & sys.modules.keys()
assert all(float(parameter.abs().sum()) > 0 for parameter in network.parameters() if parameter.dim() > 1)
"""


@pytest.mark.slow
def test_loading_a_checkpoint_does_not_import_torchs_compiler() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_COMPILER, DEFAULT_CHECKPOINT], cwd=ROOT, capture_output=True, text=True
    )

    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_deferred_compiler_is_imported_when_torchvision_asks_for_it() -> None:
    from torchvision.ops.roi_align import is_compile_supported

    assert is_compile_supported("cpu")
    assert "torch._dynamo" in sys.modules


@pytest.mark.slow
def test_torchvision_imports_when_its_operators_cannot_be_loaded() -> None:
    """Run in a separate interpreter, because operators can be declared only once."""
    result = subprocess.run([sys.executable, "-c", WITHOUT_OPERATORS], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr


def test_nothing_is_declared_when_torchvisions_operators_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_ops, "_load_compiled_operators", lambda: True)
    monkeypatch.setattr("torch.library.define", lambda name, _: pytest.fail(f"{name} was declared"))

    assert torchvision_ops.declare_missing_operators() == ()
