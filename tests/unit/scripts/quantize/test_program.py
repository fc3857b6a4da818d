import json
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handler.network.engines.openvino_graph import core
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.servers.torchserve import SegmentationService
from handler.settings import HandlerSettings
from model import (
    Evaluation,
    load_checkpoint,
    read_metadata,
    read_quantized_graph,
    replace_metadata,
)
from model.strict import ConfigurationError
from scripts.quantize.__main__ import main
from scripts.quantize.calibration import Calibration, pick_evenly
from scripts.quantize.checkpoint import with_quantization
from tests.quantized import Quantized, pipeline
from tests.support import metadata, noise, quantization, write_checkpoint
from tests.unit.handler.servers.test_torchserve import ask, context_for

pytestmark = pytest.mark.slow


def test_a_quantized_checkpoint_is_served_in_int8_with_nearly_equal_labels(quantized: Quantized) -> None:
    before, after = pipeline(quantized.source, "float32"), pipeline(quantized.path)

    assert (before.engine.precision, after.engine.precision) == ("float32", "int8")
    for image in quantized.pictures():
        assert (before.segment(image).label_map == after.segment(image).label_map).mean() > 0.85


@pytest.mark.parametrize(("height", "width"), [(20, 96), (96, 33), (96, 96)])
def test_a_quantized_checkpoint_takes_any_size(quantized: Quantized, height: int, width: int) -> None:
    assert pipeline(quantized.path).segment(noise(height, width)).label_map.shape == (height, width)


def test_the_float_weights_can_still_be_served(quantized: Quantized) -> None:
    before, after = pipeline(quantized.source, "float32"), pipeline(quantized.path, "float32")

    assert after.engine.precision == "float32"
    for image in quantized.pictures():
        assert np.array_equal(before.segment(image).label_map, after.segment(image).label_map)


FINER = HandlerSettings(engine="openvino", output_stride=8)


@pytest.mark.exhaustive
def test_at_another_output_stride_the_float_weights_are_served(quantized: Quantized) -> None:
    served = Pipeline.load(quantized.path, FINER, ModelIdentity("pets", "1.0"))

    assert served.engine.precision in {"float32", "bfloat16"}


def test_at_another_output_stride_int8_is_refused(quantized: Quantized) -> None:
    with pytest.raises(ConfigurationError, match=r"precision 'int8': .* not at this output stride; use"):
        Pipeline.load(quantized.path, FINER.model_copy(update={"precision": "int8"}), ModelIdentity("pets", "1.0"))


def test_the_service_describes_the_quantization(quantized: Quantized, tmp_path: Path) -> None:
    shutil.copyfile(quantized.path, tmp_path / "model.safetensors")
    context, service = context_for(tmp_path), SegmentationService()
    service.initialize(context)

    (body,) = ask(service, context, ({}, {"describe": "True"}))

    answer, record = json.loads(body), read_metadata(quantized.path).quantization
    assert answer["precision"] == "int8"
    assert record is not None
    assert answer["quantization"] == record.model_dump(mode="json")


def test_the_float_weights_equal_the_sources_bit_for_bit(quantized: Quantized) -> None:
    before, after = (load_checkpoint(path).network.state_dict() for path in (quantized.source, quantized.path))

    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_quantized_checkpoint_is_explained_like_its_source(quantized: Quantized) -> None:
    picture = quantized.pictures()[0]

    after = pipeline(quantized.path)

    assert after.can_explain
    expected = pipeline(quantized.source, "float32").explanation(picture, 1)
    assert np.array_equal(after.explanation(picture, 1).heat, expected.heat)


def test_the_metadata_record_the_method_and_its_cost(quantized: Quantized) -> None:
    record = read_metadata(quantized.path).quantization

    assert record is not None
    assert re.fullmatch(
        r"post-training quantization \(NNCF [\d.]+, OpenVINO [^)]+\): 63 of 66 convolutions in 8-bit integers", record.method
    )
    assert (record.calibration, record.photographs, record.dataset, record.images) == ("photographs", 2, "labelled", 2)
    assert record.miou_before == 1
    assert record.miou_after is not None
    assert 0.5 < record.miou_after < 1
    assert 0.85 < record.equal_labels < 1


def test_earlier_evaluations_are_marked_as_before_quantization() -> None:
    source = Evaluation(dataset="a", miou=0.5, conditions="single scale")

    (older,) = with_quantization(metadata(evaluations=(source,)), quantization()).evaluations

    assert older == source.model_copy(update={"conditions": "single scale, before quantization"})


def test_replacing_metadata_keeps_the_graph(quantized: Quantized, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    shutil.copyfile(quantized.path, path)

    replace_metadata(path, read_metadata(path).model_copy(update={"license": "MIT"}))

    assert read_quantized_graph(path) == read_quantized_graph(quantized.path)


@pytest.mark.exhaustive
def test_the_same_inputs_give_the_same_graph_with_or_without_labels(
    quantized: Quantized, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.safetensors"

    code = main([*_arguments(quantized), "--out", str(out), "--least-agreement", "0.85"])

    printed = capsys.readouterr().out
    assert code == 0
    assert "2 images of photographs, without true labels" in printed
    assert "━" not in printed
    assert read_quantized_graph(out) == read_quantized_graph(quantized.path)


@pytest.mark.parametrize(
    ("labelled", "message"),
    [
        pytest.param(True, r"not written: [\d.]+ points .* 0 \(--max-drop\)", marks=pytest.mark.exhaustive),
        (False, r"not written: [\d.]+% .* 100\.00% \(--least-agreement\)"),
    ],
)
def test_a_network_that_loses_too_much_accuracy_is_not_written(
    quantized: Quantized,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    labelled: bool,
    message: str,
) -> None:
    # Quantizing again would give the same graph, as the test above shows.
    graph = read_quantized_graph(quantized.path)
    assert graph is not None
    monkeypatch.setattr("scripts.quantize.checkpoint.quantize", lambda *_: core().read_model(graph.xml, graph.weights))
    limit = ["--data", str(quantized.labelled), "--max-drop", "0"] if labelled else ["--least-agreement", "1"]

    code = main([*_arguments(quantized), "--out", str(tmp_path / "b.safetensors"), *limit])

    assert code == 1
    assert re.search(message, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": "nothing.safetensors"}, r"nothing\.safetensors: no such checkpoint"),
        ({"checkpoint": "quantized.safetensors"}, r"quantized\.safetensors: is quantized already"),
        ({"--calibration": "empty"}, r"empty: holds no images; these end in "),
        ({"--calibration": "broken"}, r"broken/a\.jpg: "),
        ({"--out": "plain.safetensors"}, r"--out .*plain\.safetensors: "),
        ({"--out": "plain.onnx"}, r"--out .*plain\.onnx: must end in \.safetensors"),
        ({"--data": "empty"}, r"empty: has none of the known layouts"),
    ],
)
def test_invalid_inputs_are_reported(
    quantized: Quantized, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    write_checkpoint(tmp_path / "plain.safetensors")
    shutil.copyfile(quantized.path, tmp_path / "quantized.safetensors")
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no picture")
    values = {"checkpoint": "plain.safetensors", "--calibration": str(quantized.photographs)} | changes
    paths = {name: str(tmp_path / value) for name, value in values.items()}
    source = paths.pop("checkpoint")

    assert main([source, *(argument for pair in paths.items() for argument in pair)]) == 1

    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--photographs", "0"], "'0' must be a whole number"),
        (["--mask-values", "255=cat"], "--mask-values {255: 'cat'}: applies only to labelled data; give --data"),
        (["--max-drop", "-1", "--data", "."], "'-1' must be points of mIoU from 0 to 100"),
        (["--least-agreement", "98"], "'98' must be a fraction from 0 to 1"),
        (["--max-drop", "1"], "--max-drop is for a comparison with true labels"),
        (["--least-agreement", "1", "--data", "."], "--least-agreement is for a comparison without true labels"),
        (["--split", "val"], "--split val: "),
        (["--calibration", "nowhere"], "'nowhere': no such folder"),
    ],
)
def test_invalid_or_conflicting_options_are_refused(
    quantized: Quantized, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*_arguments(quantized), *options]) == 2

    assert message in capsys.readouterr().err


def test_a_missing_nncf_is_reported_with_its_extra(
    quantized: Quantized, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)

    assert main(_arguments(quantized)) == 1

    assert "pip install '.[quantize]'" in capsys.readouterr().err


def test_masks_of_a_data_set_are_not_photographs(quantized: Quantized) -> None:
    calibration = Calibration.choose(quantized.labelled, 10)

    assert [path.parent.name for path in calibration.used] == ["images", "images"]


def test_photographs_left_over_by_calibration_are_for_comparison(tmp_path: Path) -> None:
    for index in range(5):
        Image.fromarray(noise(4, 4)).save(tmp_path / f"{index}.png")

    calibration = Calibration.choose(tmp_path, 2)

    assert [path.stem for path in calibration.used] == ["0", "2"]
    assert [path.stem for path in calibration.unused] == ["1", "3", "4"]


@given(st.integers(1, 200), st.integers(1, 200))
def test_items_are_picked_at_even_distances(count: int, limit: int) -> None:
    picked = pick_evenly(range(count), limit)

    assert len(picked) == min(count, limit)
    distances = {second - first for first, second in pairwise(picked)}
    assert len(distances) <= 2
    assert max(distances, default=0) - min(distances, default=0) <= 1


def _arguments(quantized: Quantized) -> list[str]:
    return [str(quantized.source), "--calibration", str(quantized.photographs)]
