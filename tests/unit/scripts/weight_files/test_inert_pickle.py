"""Files of `torch.save`: everything in them is read and nothing is run."""

import argparse
import collections
import contextlib
import dataclasses
import datetime
import enum
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from scripts.weight_files.errors import WeightsFileError
from scripts.weight_files.inert_pickle import StandIn, load_inertly


class Mode(enum.Enum):
    TRAIN = 1


@dataclasses.dataclass
class Result:
    miou: float
    weights: object = None


class AttributeDict(dict[str, object]):
    """A dict with attributes, as Lightning's and EasyDict's are."""


class PickledCall:
    """Calls `function(*arguments)` when unpickled by pickle."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


class PickledState:
    """Becomes a Namespace with the state `state` when unpickled by pickle."""

    def __init__(self, state: object) -> None:
        self._state = state

    def __reduce__(self) -> tuple[type, tuple[()], object]:
        return argparse.Namespace, (), self._state


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"a.weight": nn.Parameter(torch.randn(3, 2)), "a.bias": torch.randn(3).bfloat16(), "a.count": torch.tensor(7)}


#: Objects that training scripts store beside the weights.
OTHER_OBJECTS: dict[str, Any] = {
    "args": argparse.Namespace(lr=0.1, out=Path("runs"), mode=Mode.TRAIN),
    "best": np.float64(0.71),
    "history": np.arange(3),
    "dtype": np.dtype("f4"),
    "result": Result(0.5),
    "hyper_parameters": AttributeDict(lr=0.1),
    "time": datetime.datetime(2026, 1, 1),
    "counter": collections.Counter("abc"),
    "groups": collections.defaultdict(list, {"a": [1]}),
    "queue": collections.deque([1]),
    "set": {Mode.TRAIN, 1},
    "frozen": frozenset([Mode.TRAIN]),
    "device": torch.device("cpu"),
    "size": torch.Size([1, 2]),
    "layout": torch.strided,
    "optimizer": torch.optim.AdamW([nn.Parameter(torch.randn(2))]).state_dict(),
    "scaler": torch.amp.GradScaler("cpu").state_dict(),
    "random": torch.get_rng_state(),
    "numpy random": np.random.default_rng(0).bit_generator.state,
    "network": nn.Linear(2, 2),
    "function": print,
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_read_whatever_other_objects_a_file_has(tmp_path: Path, protocol: int, zipped: bool) -> None:
    state: dict[str, object] = collections.OrderedDict(weights())
    state["_metadata"] = object()  # Inside the state dict itself.
    torch.save(
        {**OTHER_OBJECTS, "model": state}, tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped
    )

    content, programs = load_inertly(tmp_path / "a.pth")

    assert all(torch.equal(content["model"][name], tensor) for name, tensor in weights().items())
    assert content.keys() == OTHER_OBJECTS.keys() | {"model"}
    assert content["args"].type_name == "argparse.Namespace"
    assert content["args"].state["lr"] == 0.1
    assert content["hyper_parameters"] == content["hyper_parameters"]
    assert content["groups"] == {"a": [1]}
    assert content["network"].is_network
    assert programs == ()


def hostile(marker: Path) -> dict[str, object]:
    """Return objects whose unpickling by pickle would create `marker`."""
    command = f"touch '{marker}'"
    source = f"__import__('os').system({command!r})"
    return {
        "os.system": PickledCall(os.system, command),
        "builtins.eval": PickledCall(eval, source),
        "builtins.exec": PickledCall(exec, source),
        "os.mkdir": PickledCall(os.mkdir, str(marker)),
        "a method": PickledCall(Path.touch, marker),
        "nested": [{"a": (PickledCall(os.system, command),)}],
        "in a state": PickledState({"a": PickledCall(os.system, command)}),
        "as a state": PickledState(PickledCall(os.system, command)),
        "an attribute of an attribute": PickledCall(getattr, PickledCall(__import__, "os"), "system"),
    }


@pytest.mark.parametrize("name", hostile(Path("marker")))
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, name: str, zipped: bool) -> None:
    marker = tmp_path / "marker"
    hostile_object = hostile(marker)[name]
    torch.save({"model": weights(), "x": hostile_object}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)

    content, programs = load_inertly(tmp_path / "a.pth")

    assert not marker.exists()
    assert torch.equal(content["model"]["a.bias"], weights()["a.bias"])
    assert bool(programs) == (name != "a method")


def test_pickle_runs_the_hostile_objects(tmp_path: Path) -> None:
    """Otherwise the test above would be meaningless."""
    for name in hostile(tmp_path).keys() - {"an attribute of an attribute"}:
        marker = tmp_path / name
        with contextlib.suppress(pickle.UnpicklingError):
            pickle.loads(pickle.dumps(hostile(marker)[name]))  # noqa: S301, that is the point
        assert marker.exists(), name


#: Handwritten pickles with opcodes that pickle itself no longer writes.
OPCODES = {
    "INST": b"(S'touch %s'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch %s'\no.",
    "GLOBAL and REDUCE": b"cos\nsystem\n(S'touch %s'\ntR.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n(S'touch %s'\nt\x81.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93(S'touch %s'\ntR.",
    "BUILD on a function of torch": b"ctorch._utils\n_rebuild_tensor_v2\nN}S'__defaults__'\n(S'touch %s'\nts\x86b.",
    "a code of copyreg": b"\x80\x02\x82\x01(S'touch %s'\ntR.",
}


@pytest.mark.parametrize("opcodes", OPCODES)
def test_no_opcode_runs_anything(tmp_path: Path, opcodes: str) -> None:
    marker, before = tmp_path / "marker", torch._utils._rebuild_tensor_v2.__defaults__
    path = tmp_path / "a.pth"
    torch.save("CONTENT", path)
    content = OPCODES[opcodes].replace(b"%s", str(marker).encode())
    _replace_pickle(path, content)

    value, _ = load_inertly(path)

    assert not marker.exists()
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before
    assert isinstance(value, StandIn) or value.__name__ == "torch._utils._rebuild_tensor_v2"


def _replace_pickle(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, content if name.endswith("data.pkl") else data)


def test_torch_force_weights_only_load_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(weights(), tmp_path / "a.pth")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")

    with pytest.raises(WeightsFileError, match="TORCH_FORCE_WEIGHTS_ONLY_LOAD is set"):
        load_inertly(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_is_not_loaded(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(1, 1)).save(str(tmp_path / "a.pth"))

    with pytest.raises(WeightsFileError, match=r"a TorchScript program; save model\.state_dict\(\)"):
        load_inertly(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("length", [0, 10, 500])
def test_a_damaged_file_is_reported_without_torchs_advice(tmp_path: Path, length: int, zipped: bool) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": weights()}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(WeightsFileError) as error:
        load_inertly(path)

    assert str(error.value).startswith(f"{path}: ")
    assert "weights_only" not in str(error.value)
    assert "\x1b" not in str(error.value)
