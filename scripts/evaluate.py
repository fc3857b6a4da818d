"""How well a model agrees with ground truth, as it is served: labels at the images' own sizes.

python -m scripts.evaluate CHECKPOINT.safetensors --data FOLDER
python -m scripts.evaluate ARCHIVE.mar --data FOLDER --split val --out build/evaluation
python -m scripts.evaluate --url http://127.0.0.1:8080/predictions/deeplabv3 --data FOLDER
python -m scripts.evaluate CHECKPOINT.safetensors --data FOLDER --scales 0.75,1,1.25 --flip --output-stride 8
python -m scripts.evaluate CHECKPOINT.safetensors --data FOLDER --record "PASCAL VOC 2012 val"

What is not asked for is as the model is served: a checkpoint has the handler's defaults, an archive the settings in it, and a
server its own.
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

from handler.network.engines import AUTO, ENGINES, Precision
from handler.options import GREATEST_SCALE, LEAST_SCALE, REFINEMENTS, InferenceOptions, usable_scales
from model import CheckpointError, Evaluation, read_metadata, replace_metadata
from model.strict import ConfigurationError
from scripts.datasets import DataError, SegmentationData, check, open_data
from scripts.evaluation.metrics import Scores, compare, score
from scripts.evaluation.predictors import PredictionError, Predictor, ServerPredictor, load
from scripts.evaluation.report import draw_confusion, table, write_json
from scripts.evaluation.run import Result, evaluate, require_same_classes
from scripts.evaluation.worst import write_worst

#: Of the handler, which may be others than the file's.
_SETTINGS = ("output_stride", "engine", "precision")

__all__ = ["Scores", "compare", "evaluate", "main", "record", "score"]


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.target is None) == (arguments.url is None):
        parser.error("give either a checkpoint or archive, or --url")
    if arguments.record and (arguments.target is None or arguments.target.suffix != ".safetensors"):
        parser.error("--record writes into a checkpoint; give one")
    if arguments.worst < 0:
        parser.error(f"--worst {arguments.worst}: must be 0 or more")
    for name in _SETTINGS:
        if getattr(arguments, name) is not None and arguments.url is not None:
            parser.error(f"--{name.replace('_', '-')} is for a checkpoint or an archive; a server has its own")
    try:
        data = open_data(arguments.data, arguments.split)
        predictor = _predictor(arguments)
        if warning := require_same_classes(predictor.labels, data):
            print(f"{data.root}: {warning}", file=sys.stderr)
        check(data, len(predictor.labels.names), progress=True)
        result = evaluate(predictor, data, worst=arguments.worst if arguments.out else 0)
    except (CheckpointError, ConfigurationError, DataError, PredictionError) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(result.scores, result.labels.names))
    if arguments.out:
        write_report(
            arguments.out, result, data, target=arguments.url or str(arguments.target), conditions=predictor.conditions
        )
    if arguments.record:
        record(arguments.target, result.scores.evaluation(arguments.record, f"{len(data)} images, {predictor.conditions}"))
    return 0


def write_report(folder: Path, result: Result, data: SegmentationData, *, target: str, conditions: str) -> None:
    """Write `scores.json`, `confusion.png` and `worst.html` with its pictures into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    origin = {"target": target, "data": str(data.root), "layout": data.layout, "conditions": conditions}
    write_json(folder / "scores.json", result, origin)
    draw_confusion(folder / "confusion.png", result.scores, result.labels.names)
    print(f"\nthe worst images are in {write_worst(folder, result, data)}")


def record(path: Path, evaluation: Evaluation) -> None:
    """Write `evaluation` into the checkpoint at `path`, in place of an earlier one on the same data."""
    metadata = read_metadata(path)
    others = tuple(each for each in metadata.evaluations if each.dataset != evaluation.dataset)
    replace_metadata(path, metadata.model_copy(update={"evaluations": (*others, evaluation)}))


def _predictor(arguments: argparse.Namespace) -> Predictor:
    given = {name: getattr(arguments, name) for name in InferenceOptions.model_fields}
    asked = InferenceOptions.model_validate({name: value for name, value in given.items() if value is not None})
    if arguments.url:
        return ServerPredictor.connect(arguments.url, asked)
    changes = {name: getattr(arguments, name) for name in _SETTINGS}
    return load(arguments.target, asked, **changes)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be numbers with commas between, such as 0.75,1,1.25") from None
    try:
        return usable_scales(scales)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; give numbers from {LEAST_SCALE} to {GREATEST_SCALE}") from error


def _tiles(text: str) -> int:
    try:
        tiles = int(text)
    except ValueError:
        tiles = 0
    if tiles < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, 1 or more")
    return tiles


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate", description="Score a model on a data set.")
    parser.add_argument("target", nargs="?", type=Path, help="a checkpoint (.safetensors) or an archive (.mar)")
    parser.add_argument("--url", help="a running server's http://HOST:PORT/predictions/NAME, instead of a file")
    parser.add_argument("--data", type=Path, required=True, help="folder in the layout of VOC, Cityscapes or images/ + masks/")
    parser.add_argument("--split", help="which of the data's splits, if it has several")
    parser.add_argument("--scales", type=_scales, help="average over these scales, such as 0.75,1,1.25")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, help="average over mirror images too")
    parser.add_argument("--tiles", type=_tiles, metavar="N", help="cut each image into N×N overlapping tiles")
    parser.add_argument("--refine", choices=REFINEMENTS, help="crf: refine by a dense CRF")
    parser.add_argument("--output-stride", type=int, choices=(8, 16), help="another than the model's")
    parser.add_argument("--engine", choices=[AUTO, *ENGINES], help="what runs the network; torch defines what is correct")
    parser.add_argument("--precision", choices=get_args(Precision), help="of the network's numbers")
    parser.add_argument("--out", type=Path, help="folder for scores.json, confusion.png and worst.html")
    parser.add_argument("--worst", type=int, default=20, metavar="N", help="so many images on worst.html (20)")
    parser.add_argument("--record", metavar="NAME", help="write the figures into the checkpoint, as those on the data NAME")
    return parser


if __name__ == "__main__":
    sys.exit(main())
