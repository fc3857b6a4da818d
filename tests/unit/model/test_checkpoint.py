import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from model import (
    CheckpointError,
    QuantizedGraph,
    add_quantized_graph,
    build_model,
    is_checkpoint,
    load_checkpoint,
    load_state_dict,
    read_metadata,
    read_quantized_graph,
    replace_metadata,
    save_checkpoint,
)
from tests.support import metadata, quantization, write_checkpoint


def test_a_saved_checkpoint_loads_unchanged(tmp_path: Path) -> None:
    original_metadata = metadata()
    network = build_model(original_metadata.model)
    save_checkpoint(tmp_path / "new" / "a.safetensors", network, original_metadata)

    loaded = load_checkpoint(tmp_path / "new" / "a.safetensors")

    assert loaded.metadata == original_metadata
    assert not loaded.network.training
    assert_same(loaded.network, network)


@pytest.mark.slow
def test_half_precision_rounds_convolutions_and_keeps_normalization_exact(tmp_path: Path) -> None:
    original_metadata = metadata()
    network = build_model(original_metadata.model)
    nn.init.constant_(network.get_parameter("classifier.2.weight"), 1.00001)
    save_checkpoint(tmp_path / "a.safetensors", network, original_metadata, half=True)

    loaded = load_checkpoint(tmp_path / "a.safetensors").network

    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    weight = network.get_parameter("classifier.1.weight")
    assert torch.equal(loaded.get_parameter("classifier.1.weight"), weight.half().float())
    assert torch.equal(loaded.get_parameter("classifier.2.weight"), network.get_parameter("classifier.2.weight"))


@pytest.mark.slow
def test_weights_beyond_half_precision_are_stored_exactly(tmp_path: Path) -> None:
    network = build_model(metadata().model)
    nn.init.constant_(network.get_parameter("classifier.1.weight"), 70_000.0)

    save_checkpoint(tmp_path / "a.safetensors", network, metadata(), half=True)

    loaded = load_checkpoint(tmp_path / "a.safetensors").network
    assert loaded.get_parameter("classifier.1.weight").eq(70_000).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_their_name_and_count(tmp_path: Path, value: float) -> None:
    path = write_checkpoint(tmp_path / "a.safetensors")
    tensors = load_file(path)
    tensors["classifier.4.bias"][:2] = value
    with safe_open(path, framework="pt") as file:
        save_file(tensors, path, file.metadata())

    with pytest.raises(CheckpointError, match=r"a\.safetensors: weights that are NaN or infinite: .*bias \(2 of 3\)$"):
        load_checkpoint(path)


def test_loading_names_missing_and_unexpected_keys_and_wrong_shapes() -> None:
    network = build_model(metadata().model)
    state = dict(network.state_dict())
    del state["classifier.4.bias"]
    state["classifier.5.bias"] = torch.zeros(3)
    state["classifier.4.weight"] = torch.zeros(7, 256, 1, 1)

    with pytest.raises(CheckpointError) as error:
        load_state_dict(network, state, source="mine.pth")

    assert str(error.value) == (
        "mine.pth: missing keys: classifier.4.bias; unexpected keys: classifier.5.bias; "
        "wrong shapes: classifier.4.weight is (7, 256, 1, 1), should be (3, 256, 1, 1)"
    )


@pytest.mark.slow
def test_metadata_is_replaced_and_the_weights_stay_as_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, build_model(metadata().model), metadata(), half=True)
    before = load_file(path)

    replace_metadata(path, metadata(license="MIT"))

    assert read_metadata(path).license == "MIT"
    after = load_file(path)
    assert all(tensor.dtype == before[name].dtype and torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_metadata_of_another_network_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.safetensors")
    stride_8_metadata = metadata(model=metadata().model.model_copy(update={"output_stride": 8}))

    with pytest.raises(CheckpointError, match="different network"):
        replace_metadata(path, stride_8_metadata)


def test_a_quantized_graph_is_stored_byte_for_byte_beside_the_weights(tmp_path: Path) -> None:
    source, path = write_checkpoint(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    graph, quantized_metadata = QuantizedGraph(b"<xml/>", bytes(range(256))), metadata(quantization=quantization())

    add_quantized_graph(path, source, graph, quantized_metadata)

    assert read_quantized_graph(path) == graph
    loaded = load_checkpoint(path)
    assert loaded.metadata == quantized_metadata
    assert_same(loaded.network, load_checkpoint(source).network)


def test_a_checkpoint_without_a_quantized_graph_has_none(tmp_path: Path) -> None:
    assert read_quantized_graph(write_checkpoint(tmp_path / "a.safetensors")) is None


def test_a_quantized_graph_requires_quantization_metadata(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "a.safetensors")

    with pytest.raises(CheckpointError, match=r"b\.safetensors: .*`quantization`"):
        add_quantized_graph(tmp_path / "b.safetensors", source, QuantizedGraph(b"", b""), metadata())


def test_saving_weights_drops_the_quantization(tmp_path: Path) -> None:
    quantized_metadata = metadata(quantization=quantization())

    save_checkpoint(tmp_path / "a.safetensors", build_model(quantized_metadata.model), quantized_metadata)

    assert read_metadata(tmp_path / "a.safetensors") == metadata()


def test_long_lists_of_keys_are_truncated_with_a_count() -> None:
    network = build_model(metadata().model)

    with pytest.raises(CheckpointError, match=rf"missing keys: .*, and {len(network.state_dict()) - 8} more$"):
        load_state_dict(network, {}, source="empty")


def test_a_network_that_does_not_match_its_metadata_is_not_saved(tmp_path: Path) -> None:
    network = build_model(metadata().model.model_copy(update={"num_classes": 5}))

    with pytest.raises(CheckpointError, match="wrong shapes"):
        save_checkpoint(tmp_path / "a.safetensors", network, metadata())

    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors: no such checkpoint"):
        load_checkpoint(tmp_path / "nothing.safetensors")


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps(Touch(trace)))

    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(path)

    assert not trace.exists()


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(path)


def test_weights_without_metadata_are_refused_with_the_command_that_adds_it(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")

    with pytest.raises(CheckpointError, match=r"without this project's metadata.*scripts\.import_weights"):
        read_metadata(tmp_path / "a.safetensors")


def test_only_a_file_with_metadata_is_a_checkpoint(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")

    assert is_checkpoint(write_checkpoint(tmp_path / "checkpoint.safetensors"))
    assert not any(is_checkpoint(tmp_path / name) for name in ("bare.safetensors", "a.pth", "nothing.pth", "."))


def test_metadata_with_an_unknown_backbone_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.safetensors")
    document = json.loads(metadata().model_dump_json())
    document["model"]["backbone"] = "resnet49"
    save_file(load_file(path), path, {"deeplab": json.dumps(document)})

    with pytest.raises(CheckpointError, match=r"unknown backbone 'resnet49', did you mean 'resnet\d+'"):
        load_checkpoint(path)


class Touch:
    """Leaves a file behind if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._path,)


def assert_same(first: nn.Module, second: nn.Module) -> None:
    expected = second.state_dict()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
