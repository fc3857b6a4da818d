"""Build a model archive from a checkpoint, reproducibly, and prove that it works.

python -m scripts.package --checkpoint model/weights/NAME.safetensors --out build/model-store
"""

import argparse
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
from dataclasses import dataclass
from pathlib import Path

from model import CheckpointError, read_metadata
from model.strict import ConfigurationError
from scripts.class_names import index_to_name, read_class_names
from scripts.served_model_config import ServedModelConfig
from scripts.verify_archive import ArchiveError, verify
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
        ServedModelConfig.parse(read_mapping(self.model_config), source=str(self.model_config))
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

    def digest(self) -> str:
        """SHA-256 over all that decides an archive's bytes and its proof."""
        digest = hashlib.sha256(f"{self.name} {self.version} {_created_on()}".encode())
        scripts = [Path("scripts", name) for name in ("package.py", "verify_archive.py", "archive_probe.py")]
        own = [ROOT / path for path in [*self.sources(), _ENTRY.relative_to(ROOT), *scripts]]
        for path in [self.checkpoint, self.model_config, *own]:
            name = path.relative_to(ROOT) if path in own else path.name
            digest.update(f"\n{name} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
        return digest.hexdigest()


def build(recipe: Recipe, store: Path) -> Path:
    """Write `store/NAME.mar`: the same bytes for the same inputs.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: the model configuration cannot, or the class names are not the checkpoint's.
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
        unpacked = _run_archiver(recipe, stage, Path(folder))
        archive = store / f"{recipe.name}.mar"
        part = archive.with_suffix(".mar.part")
        _zip(unpacked, part)
        part.replace(archive)
    return archive


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


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    recipe = Recipe(arguments.name, arguments.version, arguments.checkpoint, arguments.model_config, arguments.class_names)
    archive = arguments.out / f"{arguments.name}.mar"
    proof = archive.with_suffix(".proven")
    try:
        recipe.check()
        stamp = recipe.digest()
        if archive.is_file() and proof.is_file() and proof.read_text() == f"{stamp} {_sha256(archive)}":
            print(f"{archive} is up to date")
            return 0
        archive = build(recipe, arguments.out)
        print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, sha256 {_sha256(archive)}")
        print(f"proven: {verify(archive)}")
        proof.write_text(f"{stamp} {_sha256(archive)}")
    except (CheckpointError, ConfigurationError, ArchiveError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.package", description="Build a model archive and prove it.")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="a safetensors checkpoint with metadata")
    parser.add_argument("--model-config", type=Path, default=DEFAULT_MODEL_CONFIG, help="YAML: workers, batching, handler")
    parser.add_argument("--class-names", type=Path, help="an index_to_name.json that must be the checkpoint's")
    parser.add_argument("--name", default="deeplabv3", help="name of the model and of the archive")
    parser.add_argument("--version", default="1.0", help="version of the model")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "model-store", help="folder for the archive")
    return parser


if __name__ == "__main__":
    sys.exit(main())
