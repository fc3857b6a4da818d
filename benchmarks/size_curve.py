"""Measure mIoU and time at several sizes of the network's input, to help choose one (`make package SIZE=...`).

python -m benchmarks.size_curve --data FOLDER --out build/size-curve
python -m benchmarks.size_curve --data FOLDER --out build/size-curve --checkpoint mine.safetensors --sizes 256,384,512

The size is the one in the checkpoint's resize policy. All sizes are timed in turn on one photograph, so that other load on the
machine slows all alike. Prints a table, and writes the same figures to OUT/size_curve.json and a plot to OUT/size_curve.png. An
interrupted run continues with the sizes that have no score yet.
"""

import hashlib
import json
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import get_args

import numpy as np
from matplotlib.figure import Figure

from benchmarks.serving.report.machine import this_machine
from handler.geometry import DecodedImage
from handler.image.process import prepare_process
from handler.labels import Labels
from handler.limits import Limits
from handler.network.engines import Engine, EngineOptions, ModelFiles, Precision, build_engine
from handler.network.tiling import resize_to_network
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from model import CheckpointMetadata, read_metadata
from scripts.arguments import Parser, existing_file, positive_int, whole_number
from scripts.data_options import add_data_options
from scripts.datasets import SegmentationData
from scripts.errors import report_errors
from scripts.evaluate.metrics import Scores, compare
from scripts.evaluate.scoring import open_labelled_data
from scripts.image_files import read_image
from scripts.package import DEFAULT_CHECKPOINT
from scripts.progress import progress
from scripts.samples import NAMES, write_samples

SIZES = (256, 320, 384, 448, 512, 640)


@dataclass(frozen=True)
class Point:
    """The measurements for one size."""

    size: int
    #: In 0..1.
    miou: float
    pixel_accuracy: float
    #: Medians over the rounds, for one image.
    milliseconds: float
    #: Processor time of all threads.
    cpu_milliseconds: float


@report_errors
def main(argv: list[str] | None = None) -> int:
    prepare_process()
    arguments = _parser().parse_args(argv)
    files = ModelFiles(arguments.checkpoint)
    engine = build_engine("openvino", files, EngineOptions(precision=arguments.precision))
    default_size = files.metadata().resize.size
    sizes = sorted({*arguments.sizes, default_size})
    scores = _scores(arguments, engine, sizes)
    times = time_in_turns(engine, files.metadata(), sizes, arguments.rounds)
    points = [Point(size, *scores[size], *times[size]) for size in sizes]
    figures = {"precision": engine.precision, "usual": default_size, "machine": asdict(this_machine())}
    content = json.dumps(figures | {"points": [asdict(point) for point in points]}, indent=2)
    (arguments.out / "size_curve.json").write_text(content + "\n")
    draw(arguments.out / "size_curve.png", points, default_size)
    print(table(points, default_size))
    print(f"\n{engine.name} in {engine.precision}; ms of one photograph of 4:3, medians of {arguments.rounds} rounds")
    return 0


def resized_metadata(metadata: CheckpointMetadata, size: int) -> CheckpointMetadata:
    """Return a copy of `metadata` with `size` in its resize policy."""
    return metadata.model_copy(update={"resize": metadata.resize.model_copy(update={"size": size})})


def score(engine: Engine, metadata: CheckpointMetadata, data: SegmentationData) -> tuple[float, float]:
    """Return mIoU and pixel accuracy, in 0..1, over the images of `data` at their original sizes."""
    classes = len(metadata.classes)
    pipeline, total = Pipeline(engine, metadata, ModelIdentity("curve", ""), Limits()), Scores.zero(classes)
    for sample in progress(data.samples, f"{metadata.resize.size} pixels"):
        image, truth = data.read(sample)
        total += compare(pipeline.segment(image).label_map, truth, classes)
    return total.miou, total.pixel_accuracy


def time_in_turns(
    engine: Engine, metadata: CheckpointMetadata, sizes: Sequence[int], rounds: int
) -> dict[int, tuple[float, float]]:
    """Run one photograph at each size in turn, and return by size the median wall and processor times in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        photograph = DecodedImage.from_pixels(_four_by_three(read_image(write_samples(Path(folder), NAMES[:1])[0])))
    inputs = {size: resize_to_network(photograph, resized_metadata(metadata, size).resize)[None] for size in sizes}
    timings: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for round_number in range(rounds + 1):
        for size, pixels in inputs.items():
            wall, processor = time.perf_counter(), time.process_time()
            engine.infer(pixels)
            elapsed = (1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - processor))
            if round_number:  # The first round warms up the engine.
                timings[size].append(elapsed)
    return {size: (median(wall for wall, _ in times), median(cpu for _, cpu in times)) for size, times in timings.items()}


def table(points: Sequence[Point], default_size: int) -> str:
    """Return the figures as Markdown; shares are relative to the time at size `default_size`."""
    (base,) = (point for point in points if point.size == default_size)
    lines = ["| size | mIoU % | pixel accuracy % | ms | share | CPU ms | share |", "|---|---|---|---|---|---|---|"]
    for point in points:
        relative = point.milliseconds / base.milliseconds, point.cpu_milliseconds / base.cpu_milliseconds
        lines.append(
            f"| {point.size} | {100 * point.miou:.2f} | {100 * point.pixel_accuracy:.2f} | {point.milliseconds:.1f} "
            f"| {relative[0]:.2f} | {point.cpu_milliseconds:.1f} | {relative[1]:.2f} |"
        )
    return "\n".join(lines)


def draw(path: Path, points: Sequence[Point], default_size: int) -> None:
    """Write a PNG of mIoU over CPU time, relative to the size `default_size`."""
    (base,) = (point for point in points if point.size == default_size)
    figure = Figure(figsize=(6, 3.5), dpi=100, layout="constrained")
    axis = figure.subplots()
    shares = [point.cpu_milliseconds / base.cpu_milliseconds for point in points]
    axis.plot(shares, [100 * point.miou for point in points], color="#2563a8", marker="o")
    for share, point in zip(shares, points, strict=True):
        axis.annotate(
            str(point.size), (share, 100 * point.miou), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8
        )
    axis.set_xlabel(f"time of the engine, as a share of that at {default_size} pixels")
    axis.set_title("mIoU, %", loc="left", fontsize=10)
    axis.set_xlim(left=0)
    axis.margins(y=0.15)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def _scores(arguments: Namespace, engine: Engine, sizes: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Score every size that has no score from an earlier run of the same model on the same data."""
    metadata = read_metadata(arguments.checkpoint)
    data = open_labelled_data(arguments, Labels.from_metadata(metadata))
    digest = hashlib.sha256(arguments.checkpoint.read_bytes()).hexdigest()
    identity = [digest, engine.precision, str(data.root.resolve()), arguments.split, len(data)]
    path: Path = arguments.out / "scores.json"
    arguments.out.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(path.read_bytes()) if path.exists() else {}
    scores = {int(size): tuple(pair) for size, pair in earlier["scores"].items()} if earlier.get("of") == identity else {}
    for size in sizes:
        if size not in scores:
            scores[size] = score(engine, resized_metadata(metadata, size), data)
            path.write_text(json.dumps({"of": identity, "scores": scores}))
    return scores


def _four_by_three(image: np.ndarray) -> np.ndarray:
    """Crop a square photograph to a camera's aspect ratio of 4:3."""
    return image[: image.shape[1] * 3 // 4]


def _sizes(parse: Callable[[str], int]) -> Callable[[str], tuple[int, ...]]:
    return lambda text: tuple(parse(part.strip()) for part in text.split(","))


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.size_curve", __doc__)
    parser.add_argument(
        "--checkpoint", type=existing_file, default=DEFAULT_CHECKPOINT, metavar="FILE", help="(the default model)"
    )
    add_data_options(parser, purpose="labelled images", required=True)
    parser.add_argument("--split", metavar="NAME", help="split of the data, if it has several")
    parser.add_argument(
        "--sizes",
        type=_sizes(whole_number(32, 4096)),
        default=SIZES,
        metavar="N,...",
        help=f"pixels of the resized side ({','.join(map(str, SIZES))}); the checkpoint's own is added",
    )
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="number format (%(default)s)")
    parser.add_argument("--rounds", type=positive_int, default=15, metavar="N", help="timed rounds (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for figures and picture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
