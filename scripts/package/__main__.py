"""Build a model archive from a checkpoint, reproducibly, and prove that it works.

python -m scripts.package --checkpoint model/weights/NAME.safetensors --out build/model-store
python -m scripts.package --model scenes --model streets
"""

import hashlib
import sys
from pathlib import Path

from handler.image.process import prepare_process
from scripts.agreement import describe
from scripts.arguments import Parser, existing_file, existing_folder, fraction, one_of, whole_number
from scripts.errors import report_errors
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, MODELS, Recipe, agreement_in, build
from scripts.package.recipe import DEFAULT_NAME, ROOT
from scripts.package.reference import describe_reference
from scripts.verify_archive import verify


@report_errors
def main(argv: list[str] | None = None) -> int:
    prepare_process()
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
        _package(recipe, arguments.out)
    return 0


def _package(recipe: Recipe, out: Path) -> None:
    """Build and prove an archive in `out`, unless the one there is of the same inputs; print what was done."""
    archive = out / f"{recipe.name}.mar"
    proof = archive.with_suffix(".proven")
    stamp = recipe.digest()
    if archive.is_file() and proof.is_file() and proof.read_text() == f"{stamp} {_sha256(archive)}":
        print(f"{archive} is up to date")
        return
    outcomes: list[str] = []
    archive = build(recipe, out, lambda part: outcomes.append(verify(part)))
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, sha256 {_sha256(archive)}")
    print(f"proven: {outcomes[0]}")
    for engine in agreement_in(archive).engines:
        print(f"compared: {describe(engine)}{'' if engine.suffices else '; too few for it to be chosen'}")
    if recipe.reference is not None:
        print(f"reference: {describe_reference(archive)}")
    proof.write_text(f"{stamp} {_sha256(archive)}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    """Add what says which model is packaged, and how it is served."""
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
    parser.add_argument("--class-names", type=existing_file, metavar="FILE", help="index_to_name.json that must agree")
    parser.add_argument(
        "--size",
        type=whole_number(32, 4096),
        metavar="PIXELS",
        help="side to which images are resized, for speed or accuracy (the checkpoint's; docs/performance.md has a curve)",
    )
    parser.add_argument("--name", help=f"name of the model and of the archive ({DEFAULT_NAME})")
    parser.add_argument("--version", default="1.0", help="version of the model (%(default)s)")


def _add_comparison_options(parser: Parser) -> None:
    """Add what engines, and later the images that are served, are compared with."""
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
        help="photographs like those to be served, best 100 or more: servers measure how far what they get differs from them",
    )


if __name__ == "__main__":
    sys.exit(main())
