import shutil
from pathlib import Path

import pytest

from handler.network.engines.archive import AGREEMENT, Agreement, EngineAgreement, archived_agreement, archived_graph
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from scripts.agreement import DisagreementError, require_agreement
from tests.support import CHECKPOINT


def measured(precision: str, equal: float, required: float = 0.995) -> EngineAgreement:
    return EngineAgreement(
        engine="openvino",
        precision=precision,
        equal_labels=equal,
        least_of_one_image=equal,
        images=1,
        greatest_difference=0.5,
        required=required,
    )


def agreement(*engines: EngineAgreement) -> Agreement:
    return Agreement(photographs="a few", engines=engines)


@pytest.mark.parametrize(
    ("found", "asked", "served"),
    [
        (measured("bfloat16", 0.996), "auto", "auto"),
        (measured("bfloat16", 0.990), "auto", "float32"),
        (measured("bfloat16", 0.990), "bfloat16", "bfloat16"),
        (measured("bfloat16", 0.990, required=0.9), "auto", "auto"),
        (measured("int8", 0.98, required=0), "auto", "auto"),
    ],
)
def test_bfloat16_that_labels_otherwise_is_not_chosen_by_itself(found: EngineAgreement, asked: str, served: str) -> None:
    exact = measured("float32", 1.0)
    settings = HandlerSettings.model_validate({"precision": asked})

    assert agreement(exact, found).trusted_precision("openvino", settings.precision) == served


def test_one_engines_doubts_are_not_anothers() -> None:
    assert agreement(measured("bfloat16", 0.5)).trusted_precision("torch", "auto") == "auto"


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        (measured("float32", 0.9, 0.9999), "auto"),
        (measured("bfloat16", 0.9), "bfloat16"),
        (measured("int8", 0.9, 0.95), "auto"),
    ],
)
def test_an_engine_that_would_serve_and_labels_otherwise_is_refused(found: EngineAgreement, asked: str) -> None:
    settings = HandlerSettings.model_validate({"precision": asked})

    message = (
        rf"openvino in {found.precision} labels 90.000% of the pixels of 1 photographs like .*, should be {found.required:.2%}"
    )
    with pytest.raises(DisagreementError, match=message):
        require_agreement(agreement(found), settings.precision)


def test_bfloat16_that_will_not_be_chosen_is_not_refused() -> None:
    require_agreement(agreement(measured("float32", 1.0), measured("bfloat16", 0.9)), "auto")


@pytest.mark.slow
def test_what_packaging_measured_decides_in_the_worker(converted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(converted, tmp_path / "archive")
    (folder / AGREEMENT).write_text(agreement(measured("bfloat16", 0.5)).model_dump_json())
    settings = HandlerSettings(engine="openvino")

    pipeline = Pipeline.load(folder / CHECKPOINT, settings, ModelIdentity("m", "1"), archive=folder)

    assert pipeline.engine.precision == "float32"


def test_an_archive_from_before_has_neither_graph_nor_agreement(tmp_path: Path) -> None:
    assert archived_graph(tmp_path) is None
    assert archived_agreement(tmp_path) is None
