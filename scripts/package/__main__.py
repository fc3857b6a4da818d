"""Build a model archive from a checkpoint, reproducibly, and prove that it works.

python -m scripts.package --checkpoint model/weights/NAME.safetensors --out build/model-store
"""

import hashlib
import sys
from pathlib import Path

from handler.image.process import prepare_process
from scripts.agreement import describe
from scripts.arguments import Parser, existing_file, existing_folder, fraction, whole_number
from scripts.errors import report_errors
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, Recipe, agreement_in, build
from scripts.package.recipe import ROOT
from scripts.package.reference import describe_reference
from scripts.verify_archive import verify


@report_errors
def main(argv: list[str] | None = None) -> int:
    prepare_process()
    arguments = _parser().parse_args(argv)
    recipe = Recipe(
        arguments.name,
        arguments.version,
        arguments.checkpoint,
        arguments.model_config,
        arguments.class_names,
        arguments.photographs,
        arguments.least_agreement,
        arguments.reference,
        arguments.size,
    )
    archive = arguments.out / f"{arguments.name}.mar"
    proof = archive.with_suffix(".proven")
    recipe.check()
    stamp = recipe.digest()
    if archive.is_file() and proof.is_file() and proof.read_text() == f"{stamp} {_sha256(archive)}":
        print(f"{archive} is up to date")
        return 0
    outcomes: list[str] = []
    archive = build(recipe, arguments.out, lambda part: outcomes.append(verify(part)))
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, sha256 {_sha256(archive)}")
    print(f"proven: {outcomes[0]}")
    for engine in agreement_in(archive).engines:
        print(f"compared: {describe(engine)}{'' if engine.suffices else '; too few for it to be chosen'}")
    if recipe.reference is not None:
        print(f"reference: {describe_reference(archive)}")
    proof.write_text(f"{stamp} {_sha256(archive)}")
    return 0


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parser() -> Parser:
    parser = Parser("python -m scripts.package", __doc__)
    parser.add_argument(
        "--checkpoint",
        type=existing_file,
        default=DEFAULT_CHECKPOINT,
        metavar="FILE",
        help=f"checkpoint with metadata (model/weights/{DEFAULT_CHECKPOINT.name})",
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
    parser.add_argument(
        "--size",
        type=whole_number(32, 4096),
        metavar="PIXELS",
        help="side to which images are resized, for speed or accuracy (the checkpoint's; docs/performance.md has a curve)",
    )
    parser.add_argument("--name", default="deeplabv3", help="name of the model and of the archive (%(default)s)")
    parser.add_argument("--version", default="1.0", help="version of the model (%(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "model-store",
        metavar="DIR",
        help="folder for the archive (build/model-store)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
