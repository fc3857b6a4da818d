"""Run the command: score a model or a server on labelled data, and report the scores."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from handler.image.process import prepare_process
from handler.options import InferenceOptions
from model import Evaluation, read_metadata, replace_metadata
from scripts.calibrate.reliability import draw_reliability
from scripts.datasets import DataError, SegmentationData, check, describe_absence
from scripts.evaluate.predictors import Predictor, ServerPredictor, load
from scripts.evaluate.report import describe_doubt, draw_confusion, table, write_json
from scripts.evaluate.scoring import Result, evaluate, open_labelled_data
from scripts.evaluate.worst_images import write_worst
from scripts.server_access import ServerAccess


def run_command(arguments: Namespace, settings: Mapping[str, Any]) -> None:
    """Score the model that the command line names; print the scores and write the requested files.

    Args:
        arguments: parsed arguments of `python -m scripts.evaluate`.
        settings: handler settings that replace the file's; None keeps the file's value.

    Raises:
        UserError, ConfigurationError, CheckpointError: the data, the model or the server cannot be used.
    """
    prepare_process()
    predictor = _predictor(arguments, settings)
    data = open_labelled_data(arguments, predictor.labels)
    summary = check(data, len(predictor.labels.names), show_progress=True)
    result = evaluate(predictor, data, worst=arguments.worst if arguments.out else 0)
    print(table(result.scores, result.labels.names))
    print(f"\n{describe_doubt(result)}")
    if arguments.out:
        write_report(
            arguments.out, result, data, target=arguments.url or str(arguments.target), conditions=predictor.conditions
        )
    if np.isnan(result.scores.miou):
        raise DataError(
            f"{describe_absence(data, result.labels.names, summary)}. No mean is given: without a labelled class other than "
            "background, a model that finds nothing would be perfect"
        )
    if arguments.record:
        record(arguments.target, result.scores.evaluation(arguments.record, f"{len(data)} images, {predictor.conditions}"))


def write_report(folder: Path, result: Result, data: SegmentationData, *, target: str, conditions: str) -> None:
    """Write `scores.json`, `confusion.png`, `reliability.png` and `worst.html` with its pictures into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    origin = {"target": target, "data": str(data.root), "layout": data.layout, "conditions": conditions}
    write_json(folder / "scores.json", result, origin)
    draw_confusion(folder / "confusion.png", result.scores, result.labels.names)
    if result.calibration is not None:
        curve = result.calibration.reliability
        draw_reliability(folder / "reliability.png", {"as served": curve}, f"{Path(target).name} on {data.name}")
    print(f"\nthe worst images are in {write_worst(folder, result, data)}")


def record(path: Path, evaluation: Evaluation) -> None:
    """Write `evaluation` into the checkpoint at `path`, replacing an earlier one on the same data."""
    metadata = read_metadata(path)
    other_evaluations = tuple(entry for entry in metadata.evaluations if entry.dataset != evaluation.dataset)
    replace_metadata(path, metadata.model_copy(update={"evaluations": (*other_evaluations, evaluation)}))


def _predictor(arguments: Namespace, settings: Mapping[str, Any]) -> Predictor:
    values = {name: getattr(arguments, name) for name in InferenceOptions.model_fields}
    options = InferenceOptions.model_validate({name: value for name, value in values.items() if value is not None})
    if arguments.url:
        return ServerPredictor.connect(arguments.url, options, ServerAccess.from_arguments(arguments))
    return load(arguments.target, options, **settings)
