"""Build a model archive from a checkpoint, reproducibly, and prove that it works.

python -m scripts.package --checkpoint model/weights/NAME.safetensors --out build/model-store
python -m scripts.package --model scenes --model streets
"""

import sys
from pathlib import Path

from scripts.arguments import Parser, existing_file, existing_folder, fraction, one_of, whole_number
from scripts.errors import report_errors
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, MODELS, Recipe
from scripts.package.command import package
from scripts.package.recipe import DEFAULT_NAME, ROOT


@report_errors
def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.model and (arguments.checkpoint or arguments.name or arguments.class_names):
        parser.error("--model names a checkpoint and its archive: leave out --checkpoint, --name and --class-names")
    checkpoints = {name: MODELS[name] for name in arguments.model}
    recipes = [
        Recipe(
            name,
            arguments.version,
            checkpoint,
            arguments.model_config,
            arguments.class_names,
            arguments.photographs,
            arguments.least_agreement,
            arguments.reference,
            arguments.size,
        )
        for name, checkpoint in (
            checkpoints or {arguments.name or DEFAULT_NAME: arguments.checkpoint or DEFAULT_CHECKPOINT}
        ).items()
    ]
    for recipe in recipes:
        recipe.check()
    for recipe in recipes:
        package(recipe, arguments.out)
    return 0


def _parser() -> Parser:
    parser = Parser("python -m scripts.package", __doc__)
    _add_model_options(parser)
    _add_comparison_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "model-store",
        metavar="DIR",
        help="folder for the archive (build/model-store)",
    )
    return parser


def _add_model_options(parser: Parser) -> None:
    """Add the options for the model to package and how it is served."""
    parser.add_argument(
        "--checkpoint",
        type=existing_file,
        metavar="FILE",
        help=f"checkpoint with metadata (model/weights/{DEFAULT_CHECKPOINT.name})",
    )
    parser.add_argument(
        "--model",
        type=one_of(MODELS),
        action="append",
        default=[],
        metavar="NAME",
        help=f"instead of a checkpoint: a model of this repository ({', '.join(MODELS)}), under its own name; repeatable",
    )
    parser.add_argument(
        "--model-config",
        type=existing_file,
        default=DEFAULT_MODEL_CONFIG,
        metavar="FILE",
        help="workers, batching, limits and defaults as YAML (handler/model-config.yaml)",
    )
    parser.add_argument("--class-names", type=existing_file, metavar="FILE", help="index_to_name.json that must match")
    parser.add_argument(
        "--size",
        type=whole_number(32, 4096),
        metavar="PIXELS",
        help="side to which images are resized, for speed or accuracy (the checkpoint's; docs/performance.md has a curve)",
    )
    parser.add_argument("--name", help=f"name of the model and of the archive ({DEFAULT_NAME})")
    parser.add_argument("--version", default="1.0", help="version of the model (%(default)s)")


def _add_comparison_options(parser: Parser) -> None:
    """Add the options for comparing engines, and later the served images."""
    parser.add_argument(
        "--photographs",
        type=existing_folder,
        metavar="DIR",
        help="photographs like those to be served, on which engines are compared (scikit-image's)",
    )
    parser.add_argument(
        "--least-agreement",
        type=fraction,
        metavar="FRACTION",
        help="pixels an engine must label like torch in float32 (float32 0.9999, bfloat16 0.995)",
    )
    parser.add_argument(
        "--reference",
        type=existing_folder,
        metavar="DIR",
        help="photographs like those to be served, best 100 or more: servers measure how much their images differ from these",
    )


if __name__ == "__main__":
    sys.exit(main())
