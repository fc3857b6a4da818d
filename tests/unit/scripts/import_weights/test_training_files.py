"""Files as training scripts leave them: where the weights are, their names' prefixes, and what is stored beside them."""

from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from model import DeepLabV3, load_checkpoint, state_shapes
from scripts.import_weights.__main__ import main
from scripts.import_weights.architecture_names import network_config
from scripts.import_weights.layouts import Layout
from scripts.import_weights.state_dict import find_state, read_state_dict
from scripts.weight_files.tensor_maps import TensorMap, WeightsFile

pytestmark = pytest.mark.slow

State = dict[str, Tensor]
ARCH = "deeplabv3_mobilenet_v2"
#: Few channels, since the files' structure is tested.
OPTIONS: dict[str, Any] = {"aspp_channels": 16}


@cache
def network(seed: int = 0, *, auxiliary_head: bool = False) -> nn.Module:
    """Return a network that tests must not change."""
    torch.manual_seed(seed)
    return DeepLabV3("mobilenet_v2", 3, output_stride=16, auxiliary_head=auxiliary_head, **OPTIONS)


@pytest.fixture(scope="module")
def state() -> State:
    return dict(network().state_dict())


def convert(path: Path, *options: object) -> int:
    arguments = ("--arch", ARCH, "--aspp-channels", OPTIONS["aspp_channels"], "--classes", "a,b,c")
    out = path.with_suffix(".safetensors")
    return main([str(argument) for argument in (path, *arguments, "--out", out, *options)])


def assert_imported(path: Path, state: Mapping[str, Tensor]) -> None:
    loaded = load_checkpoint(path.with_suffix(".safetensors")).network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def with_prefix(prefix: str, state: Mapping[str, Tensor]) -> State:
    return OrderedDict((prefix + name, tensor) for name, tensor in state.items())


PLACES: dict[str, Callable[[State], object]] = {
    "at the top": lambda state: state,
    **{
        key: lambda state, key=key: {key: state, "epoch": 3}  # type: ignore[misc]
        for key in ("model", "state_dict", "model_state", "model_state_dict", "ema", "network", "net", "my_deeplab")
    },
    "beside a Namespace": lambda state: {"model": state, "args": Namespace(lr=np.float64(0.1), out=Path("runs"))},
    "nested": lambda state: {"ema": {"decay": 0.9, "module": state}},
    "beside numbers": lambda state: {**state, "epoch": 3, "best": np.float64(0.7)},
    "in a tuple": lambda state: (3, state),
    "in an object": lambda state: {"run": Namespace(weights=state)},
    "beside an optimizer": lambda state: {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}, "model": state},
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_are_found_where_scripts_put_them(tmp_path: Path, state: State, place: str) -> None:
    torch.save(PLACES[place](state), tmp_path / "a.pth")

    imported_state = read_state_dict(tmp_path / "a.pth", ARCH, OPTIONS).state

    assert imported_state.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in imported_state.items())


PREFIXES = ("module.", "model.", "net.", "network.", "_orig_mod.", "ema.", "segmentor.", "_fsdp_wrapped_module.")


@given(prefixes=st.lists(st.sampled_from(PREFIXES), max_size=4), inner=st.sampled_from(["", "_orig_mod.", "module."]))
@hypothesis_settings(max_examples=10)
def test_prefixes_are_removed_in_any_order(prefixes: list[str], inner: str) -> None:
    model = network_config(ARCH, OPTIONS)
    state = state_shapes(model)
    wrapped = with_prefix("".join(prefixes), {name.replace(".", "." + inner, 1): tensor for name, tensor in state.items()})
    file = WeightsFile(Path("a.pth"), (TensorMap("", {**wrapped, "criterion.weight": torch.zeros(3)}),))

    result = find_state(file, model, Layout())

    assert result.tensors.keys() == state.keys()
    assert any("criterion.weight" in note for note in result.notes)


def test_the_prefix_and_omitted_tensors_are_reported(tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]) -> None:
    other_tensors = {"model.criterion.weight": torch.ones(3), "mean": torch.zeros(1, 3, 1, 1), "std": torch.ones(1, 3, 1, 1)}
    metrics = {f"metrics.{index}.confusion": torch.zeros(3, 3) for index in range(9)}
    torch.save({"state_dict": {**with_prefix("module.model.", state), **other_tensors, **metrics}}, tmp_path / "a.ckpt")

    assert convert(tmp_path / "a.ckpt") == 0

    printed = capsys.readouterr().out
    assert "note: removed from the names: module.model.\n" in printed
    assert "note: left out, not part of the network: mean, std, metrics.* (9 tensors), model.criterion.weight\n" in printed
    assert_imported(tmp_path / "a.ckpt", state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda network: AveragedModel(nn.DataParallel(network)),
        # Importing the compiler takes seconds.
        pytest.param(lambda network: torch.compile(nn.DataParallel(network)), marks=pytest.mark.exhaustive),
    ],
    ids=["averaged", "compiled"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Importing torch's compiler emits one.
def test_pytorchs_wrapper_prefixes_are_removed(tmp_path: Path, state: State, wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.save({"model_ema": wrap(network()).state_dict()}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 0

    assert_imported(tmp_path / "a.pth", state)


def test_one_of_several_weights_is_imported_and_others_can_be_chosen(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    average = dict(network(seed=1).state_dict())
    torch.save({"ema": {"module": with_prefix("module.", average)}, "model": state}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 0
    assert "these are the weights under model; others fit too: choose them with --key ema.module\n" in capsys.readouterr().out
    assert_imported(tmp_path / "a.pth", state)

    assert convert(tmp_path / "a.pth", "--key", "ema.module") == 0
    assert_imported(tmp_path / "a.pth", average)

    assert convert(tmp_path / "a.pth", "--key", "teacher") == 1
    assert "no weights of this network under --key teacher; they are under model, ema.module" in capsys.readouterr().err


def test_one_of_several_prefixes_is_imported_and_others_can_be_chosen(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = dict(network(seed=1).state_dict())
    torch.save({"state_dict": {**with_prefix("teacher.", teacher), **with_prefix("student.", state)}}, tmp_path / "a.ckpt")

    assert convert(tmp_path / "a.ckpt") == 0
    printed = capsys.readouterr().out
    assert f"left out, not part of the network: teacher.* ({len(teacher)} tensors)" in printed
    assert "choose them with --key state_dict.teacher" in printed
    assert_imported(tmp_path / "a.ckpt", state)

    assert convert(tmp_path / "a.ckpt", "--key", "state_dict.teacher") == 0
    assert_imported(tmp_path / "a.ckpt", teacher)


def test_absent_batch_counters_are_zero(tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({name: tensor for name, tensor in state.items() if "num_batches" not in name}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 0

    assert "batch counters (num_batches_tracked), used only in training, are absent" in capsys.readouterr().out
    assert_imported(tmp_path / "a.pth", state)


def test_an_auxiliary_head_for_other_classes_is_omitted_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # As after replacing only the main classifier of torchvision's network.
    tuned = dict(network(auxiliary_head=True).state_dict())
    for name in ("aux_classifier.4.weight", "aux_classifier.4.bias"):
        tuned[name] = tuned[name][:1].repeat_interleave(21, dim=0)
    torch.save(tuned, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 0

    assert "the auxiliary head, which only training uses, is left out: it is for 21 classes, the network for 3" in (
        capsys.readouterr().out
    )
    expected = {name: tensor for name, tensor in tuned.items() if not name.startswith("aux_")}
    assert_imported(tmp_path / "a.pth", expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda head: {name: value for name, value in head.items() if name != "1.weight"}, "other layers than the one here"),
        (lambda head: {**head, "5.weight": torch.zeros(3)}, "other layers than the one here"),
        (lambda head: {**head, "1.weight": torch.zeros(7)}, "other sizes than those here"),
    ],
)
def test_an_auxiliary_head_that_does_not_fit_is_omitted(
    tmp_path: Path, change: Callable[[State], State], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = network(auxiliary_head=True).state_dict()
    head = {name.removeprefix("aux_classifier."): value for name, value in state.items() if name.startswith("aux_")}
    state_without_head = {name: value for name, value in state.items() if not name.startswith("aux_")}
    torch.save({**state_without_head, **with_prefix("aux_classifier.", change(head))}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 0

    assert "the auxiliary head, which only training uses, is left out: it" in (printed := capsys.readouterr().out)
    assert reason in printed
    assert_imported(tmp_path / "a.pth", state_without_head)


@pytest.mark.parametrize("place", ["", "model"])
def test_a_pickled_module_is_refused_with_advice(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({place: network(), "epoch": 3} if place else network(), tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 1

    error = capsys.readouterr().err
    assert "holds a whole module (model.deeplab.DeepLabV3" in error
    assert error.endswith("save model.state_dict() instead\n")


def test_a_state_dict_beside_a_pickled_module_is_imported(tmp_path: Path, state: State) -> None:
    torch.save({"model": network(seed=1), "state_dict": state}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 0

    assert_imported(tmp_path / "a.pth", state)


def test_values_that_are_not_tensors_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"classifier.weight": np.zeros(3), "epoch": 1}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 1

    assert "holds dict of numpy._core.multiarray._reconstruct, int, should hold a state dict" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_refused_with_their_name_and_count(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken["classifier.4.weight"][0, :5] = float("nan")
    broken["backbone.0.1.running_var"][3] = float("inf")
    torch.save(broken, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 1

    assert capsys.readouterr().err == (
        "error: a.pth: weights that are NaN or infinite: backbone.0.1.running_var (1 of 32), classifier.4.weight (5 of 48)\n"
    )
    assert not (tmp_path / "a.safetensors").exists()


def test_a_file_that_would_run_code_is_imported(tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": state, "hook": eval}, tmp_path / "a.pth")

    assert convert(tmp_path / "a.pth") == 0

    assert "note: the file asks to run __builtin__.eval; nothing was run here" in capsys.readouterr().out
