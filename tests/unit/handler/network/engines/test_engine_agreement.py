import shutil
from pathlib import Path

import pytest

from handler.network.engines.archive import AGREEMENT, Agreement, EngineAgreement, archived_agreement, archived_graph
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from scripts.agreement import DisagreementError, require_agreement
from tests.support import CHECKPOINT


def engine_agreement(precision: str, equal: float, required: float = 0.995) -> EngineAgreement:
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
    ("measured", "precision", "expected"),
    [
        (engine_agreement("bfloat16", 0.996), "auto", "auto"),
        (engine_agreement("bfloat16", 0.990), "auto", "float32"),
        (engine_agreement("bfloat16", 0.990), "bfloat16", "bfloat16"),
        (engine_agreement("bfloat16", 0.990, required=0.9), "auto", "auto"),
        (engine_agreement("int8", 0.98, required=0), "auto", "auto"),
    ],
)
def test_auto_avoids_a_disagreeing_bfloat16(measured: EngineAgreement, precision: str, expected: str) -> None:
    exact = engine_agreement("float32", 1.0)
    settings = HandlerSettings.model_validate({"precision": precision})

    assert agreement(exact, measured).trusted_precision("openvino", settings.precision) == expected


def test_disagreement_of_one_engine_does_not_affect_another() -> None:
    assert agreement(engine_agreement("bfloat16", 0.5)).trusted_precision("torch", "auto") == "auto"


@pytest.mark.parametrize(
    ("measured", "precision"),
    [
        (engine_agreement("float32", 0.9, 0.9999), "auto"),
        (engine_agreement("bfloat16", 0.9), "bfloat16"),
        (engine_agreement("int8", 0.9, 0.95), "auto"),
    ],
)
def test_an_engine_that_would_serve_but_disagrees_is_refused(measured: EngineAgreement, precision: str) -> None:
    settings = HandlerSettings.model_validate({"precision": precision})

    message = rf"openvino in {measured.precision} labels 90.000% of the pixels .*, should be {measured.required:.2%}"
    with pytest.raises(DisagreementError, match=message):
        require_agreement(agreement(measured), settings.precision)


def test_a_disagreeing_bfloat16_that_is_not_used_is_not_refused() -> None:
    require_agreement(agreement(engine_agreement("float32", 1.0), engine_agreement("bfloat16", 0.9)), "auto")


@pytest.mark.slow
def test_the_worker_follows_the_packaged_agreement(converted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(converted, tmp_path / "archive")
    (folder / AGREEMENT).write_text(agreement(engine_agreement("bfloat16", 0.5)).model_dump_json())
    settings = HandlerSettings(engine="openvino")

    pipeline = Pipeline.load(folder / CHECKPOINT, settings, ModelIdentity("m", "1"), archive=folder)

    assert pipeline.engine.precision == "float32"


def test_an_old_archive_has_neither_graph_nor_agreement(tmp_path: Path) -> None:
    assert archived_graph(tmp_path) is None
    assert archived_agreement(tmp_path) is None
