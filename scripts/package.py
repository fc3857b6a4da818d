"""Build a model archive from a checkpoint, reproducibly, and prove that it works.

python -m scripts.package --checkpoint model/weights/NAME.safetensors --out build/model-store
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from handler.image.process import prepare_process
from handler.network.engines import AUTO, EngineOptions, ModelFiles, has_gpu
from handler.network.engines.archive import AGREEMENT, GRAPH, Agreement
from handler.settings import HandlerSettings
from model import read_metadata
from model.strict import ConfigurationError
from scripts.agreement import compare_engines, in_words, require_agreement
from scripts.arguments import Parser, existing_file, existing_folder, fraction
from scripts.class_names import index_to_name, read_class_names
from scripts.errors import report_errors
from scripts.image_files import find_images
from scripts.served_model_config import ServedModelConfig
from scripts.verify_archive import verify
from scripts.yaml_file import read_mapping

ROOT = Path(__file__).parent.parent
DEFAULT_CHECKPOINT = ROOT / "model" / "weights" / "deeplabv3_mobilenet_v2_voc.safetensors"
DEFAULT_MODEL_CONFIG = ROOT / "handler" / "model-config.yaml"
_ENTRY = ROOT / "handler" / "deeplab_handler.py"
#: Everything of the repository that goes into an archive, besides its entry, checkpoint and configuration.
_SOURCES = ("handler/**/*.py", "model/**/*.py", "LICENSE")
#: What a zip entry can say at the earliest.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Recipe:
    """All inputs of an archive."""

    name: str
    version: str
    checkpoint: Path
    model_config: Path
    #: Class names that must be the checkpoint's; None: not checked.
    class_names: Path | None = None
    #: A folder of photographs on which engines are compared; None: samples that come with scikit-image.
    photographs: Path | None = None
    #: The least share of equal labels; None: `scripts.agreement.LEAST_EQUAL`.
    least_agreement: float | None = None

    def sources(self) -> list[Path]:
        """The allow-listed files, relative to the repository."""
        found = {path for pattern in _SOURCES for path in ROOT.glob(pattern) if path != _ENTRY}
        return sorted(path.relative_to(ROOT) for path in found)

    def check(self) -> None:
        """Refuse inputs that do not fit each other.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the model configuration or the name cannot, or the class names are not the checkpoint's.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise ConfigurationError(
                f"--name {self.name!r}: must be letters, digits, '_', '.' and '-', a letter or digit first"
            )
        names = read_metadata(self.checkpoint).classes
        self.handler_settings()
        if self.class_names is None:
            return
        given = read_class_names(self.class_names)
        for index, (name, expected) in enumerate(zip(given, names, strict=False)):
            if name != expected:
                raise ConfigurationError(
                    f"{self.class_names}: class {index} is {name!r}, in {self.checkpoint} it is {expected!r}"
                )
        if len(given) != len(names):
            raise ConfigurationError(f"{self.class_names}: has {len(given)} classes, {self.checkpoint} has {len(names)}")

    def handler_settings(self) -> HandlerSettings:
        """Those of the handler in `model_config`.

        Raises:
            ConfigurationError: they, or others in it, cannot be used.
        """
        return ServedModelConfig.parse(read_mapping(self.model_config), source=str(self.model_config)).handler

    def digest(self) -> str:
        """SHA-256 over all that decides an archive's bytes and its proof."""
        said = [self.name, self.version, _created_on(), self.least_agreement, version("torch"), *_machine(self)]
        digest = hashlib.sha256(" ".join(map(str, said)).encode())
        names = ("package.py", "agreement.py", "photographs.py", "samples.py", "verify_archive.py", "archive_probe.py")
        scripts = [Path("scripts", name) for name in names]
        own = [ROOT / path for path in [*self.sources(), _ENTRY.relative_to(ROOT), *scripts]]
        photographs = find_images(self.photographs) if self.photographs else []
        for path in [self.checkpoint, self.model_config, *photographs, *own]:
            name = path.relative_to(ROOT) if path in own else path.name
            digest.update(f"\n{name} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
        return digest.hexdigest()


def build(recipe: Recipe, store: Path) -> Path:
    """Write `store/NAME.mar`: the same bytes for the same inputs, on machines whose engines round alike.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: the model configuration cannot, or the class names are not the checkpoint's.
        DisagreementError: an engine's labels are too far from those of torch in float32.
    """
    recipe.check()
    names = read_metadata(recipe.checkpoint).classes
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="deeplab-package-") as folder:
        stage = Path(folder) / "stage"
        for source in recipe.sources():
            (stage / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / source, stage / source)
        (stage / "index_to_name.json").write_text(index_to_name(names))
        settings = recipe.handler_settings()
        files = add_graph(stage, ModelFiles(recipe.checkpoint, settings.output_stride), settings)
        agreement = compare_engines(files, settings, recipe.photographs, recipe.least_agreement)
        require_agreement(agreement, settings.precision)
        (stage / AGREEMENT).parent.mkdir(exist_ok=True)
        (stage / AGREEMENT).write_text(agreement.model_dump_json(indent=2) + "\n")
        unpacked = _run_archiver(recipe, stage, Path(folder))
        archive = store / f"{recipe.name}.mar"
        part = archive.with_suffix(".mar.part")
        _zip(unpacked, part)
        part.replace(archive)
    return archive


def _machine(recipe: Recipe) -> list[str]:
    """What the comparison of engines depends on, besides its inputs."""
    gpu = [str(has_gpu(EngineOptions(gpu_id=0)))]
    if recipe.handler_settings().engine not in {AUTO, "openvino"}:
        return gpu
    from handler.network.engines.openvino_engine import native_precision

    return [*gpu, version("openvino"), native_precision()]


def add_graph(stage: Path, files: ModelFiles, settings: HandlerSettings) -> ModelFiles:
    """Make the graph that the engine of `settings` may run, so that no worker pays for it; `files`, with it if there is one."""
    if settings.engine not in {AUTO, "openvino"}:
        return files
    from handler.network.engines.openvino_graph import make_graph, write_graph

    write_graph(make_graph(files, settings.precision), stage / GRAPH)
    return replace(files, graph=stage / GRAPH)


def agreement_in(archive: Path) -> Agreement:
    """How the engines of a packed `archive` agree."""
    with zipfile.ZipFile(archive) as packed:
        return Agreement.model_validate_json(packed.read(AGREEMENT.as_posix()))


def _run_archiver(recipe: Recipe, stage: Path, folder: Path) -> Path:
    """Let torch-model-archiver lay out the archive as a folder, in a temporary folder of its own: it empties what it uses."""
    checkpoint = folder / "model.safetensors"
    checkpoint.symlink_to(recipe.checkpoint.resolve())
    config = folder / "model-config.yaml"
    config.symlink_to(recipe.model_config.resolve())
    exported, scratch = folder / "exported", folder / "tmp"
    exported.mkdir()
    scratch.mkdir()
    command = [str(Path(sys.executable).parent / "torch-model-archiver"), "--archive-format", "no-archive"]
    command += ["--model-name", recipe.name, "--version", recipe.version, "--handler", str(_ENTRY)]
    command += ["--serialized-file", str(checkpoint), "--config-file", str(config)]
    command += ["--extra-files", str(stage), "--export-path", str(exported)]
    subprocess.run(command, check=True, env={**os.environ, "TMPDIR": str(scratch)})
    manifest = exported / recipe.name / "MAR-INF" / "MANIFEST.json"
    content = json.loads(manifest.read_text())
    content["createdOn"] = _created_on()
    manifest.write_text(json.dumps(content, indent=2) + "\n")
    return exported / recipe.name


def _created_on() -> str:
    """The manifest's time stamp: SOURCE_DATE_EPOCH if set (reproducible-builds.org), else the start of zip's calendar."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    moment = time.gmtime(int(seconds)) if seconds else (*_EPOCH, 0, 1, 0)
    return time.strftime("%d/%m/%Y %H:%M:%S", moment)


def _zip(folder: Path, archive: Path) -> None:
    """Zip in a fixed order with fixed times. Stored, not deflated: weights do not shrink, and a worker starts sooner."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.external_attr = 0o644 << 16
            target.writestr(entry, path.read_bytes())


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
    )
    archive = arguments.out / f"{arguments.name}.mar"
    proof = archive.with_suffix(".proven")
    recipe.check()
    stamp = recipe.digest()
    if archive.is_file() and proof.is_file() and proof.read_text() == f"{stamp} {_sha256(archive)}":
        print(f"{archive} is up to date")
        return 0
    archive = build(recipe, arguments.out)
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, sha256 {_sha256(archive)}")
    print(f"proven: {verify(archive)}")
    for each in agreement_in(archive).engines:
        print(f"compared: {in_words(each)}{'' if each.suffices else '; too few for it to be chosen'}")
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
