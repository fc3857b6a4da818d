"""Train a model of scenes or streets from a published network, which labels photographs for it, with the recipe in this folder.

python -m tools.scenes_and_streets label scenes --weights WEIGHTS --images PHOTOGRAPHS --out LABELLED
python -m tools.scenes_and_streets train scenes --weights WEIGHTS --data LABELLED
python -m tools.scenes_and_streets calibrate scenes --data LABELLED --voc VOC_FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from handler.image.process import prepare_process
from model import read_metadata
from scripts.arguments import Parser, existing_file, existing_folder
from scripts.datasets import open_data
from scripts.errors import report_errors
from scripts.image_files import find_images
from scripts.package import MODELS
from scripts.train import main as train
from tools.scenes_and_streets.calibration import calibrate
from tools.scenes_and_streets.labelled_evidence import SHARED, SharedClasses
from tools.scenes_and_streets.published_networks import PUBLISHED, build_published
from tools.scenes_and_streets.taught_weights import PublishedTeacher, PublishedWeights, published_labels

FOLDER = Path(__file__).parent


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments, extra_options = _parser().parse_known_args(argv)
    if arguments.command == "label":
        label(arguments.model, arguments.weights, arguments.images, arguments.out)
        return 0
    if arguments.command == "calibrate":
        _calibrate(arguments.model, arguments.checkpoint or MODELS[arguments.model], arguments.data, arguments.voc)
        return 0
    recipe = ["--config", str(FOLDER / f"{arguments.model}.yaml"), "--data", str(arguments.data)]
    weights = ["--start", str(arguments.weights), "--teacher", str(arguments.weights)]
    # Options given on the command line, such as another --config, take precedence.
    options = [*recipe, *weights, *extra_options]
    return train(options, weights=PublishedWeights(PUBLISHED[arguments.model]), program="tools.scenes_and_streets")


def label(name: str, weights: Path, images: Path, out: Path) -> None:
    """Write a data set into `out`: the photographs in `images`, with the published network's labels as masks."""
    published = PUBLISHED[name]
    teacher = PublishedTeacher(build_published(weights, published), published).eval()
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    (out / "classes.txt").write_text("\n".join(published.classes) + "\n")
    for path in tqdm(find_images(images)):
        with Image.open(path) as file:
            image = file.convert("RGB")
        labels = published_labels(teacher, published, torch.from_numpy(np.array(image)))
        Image.fromarray(labels.byte().numpy()).save(out / "masks" / f"{path.stem}.png")
        link = out / "images" / path.name
        if not link.exists():
            link.symlink_to(path.resolve())


def _calibrate(name: str, checkpoint: Path, data: Path, voc: Path) -> None:
    prepare_process()
    classes = read_metadata(checkpoint).classes
    published = open_data(data, "val", classes=classes)
    calibrate(checkpoint, published, open_data(voc), SharedClasses.find(SHARED[name], classes))


def _parser() -> Parser:
    parser = Parser("python -m tools.scenes_and_streets", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="label | train | calibrate")
    label_parser = commands.add_parser("label", help="label photographs with the published network")
    label_parser.add_argument("--images", type=existing_folder, required=True, metavar="DIR", help="photographs")
    label_parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the data set")
    train_parser = commands.add_parser("train", help="train on these labels; options of scripts.train may follow")
    train_parser.add_argument(
        "--data", type=existing_folder, required=True, metavar="DIR", help="the data set that `label` wrote"
    )
    calibrate_parser = commands.add_parser("calibrate", help="fit the temperature to the held-out photographs")
    calibrate_parser.add_argument(
        "--data", type=existing_folder, required=True, metavar="DIR", help="the data set that `label` wrote, with val.txt"
    )
    calibrate_parser.add_argument(
        "--voc",
        type=existing_folder,
        required=True,
        metavar="DIR",
        help="annotated images with PASCAL VOC's classes, as a check",
    )
    calibrate_parser.add_argument("--checkpoint", type=existing_file, metavar="FILE", help="(this repository's)")
    for command in (label_parser, train_parser):
        command.add_argument("--weights", type=existing_file, required=True, metavar="FILE", help="the published network")
    for command in (label_parser, train_parser, calibrate_parser):
        command.add_argument("model", choices=PUBLISHED, help="scenes or streets")
    return parser


if __name__ == "__main__":
    sys.exit(main())
