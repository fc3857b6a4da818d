"""The inputs of a model archive, and the digest that shows whether an archive is up to date."""

import hashlib
import os
import re
import time
from dataclasses import dataclass
from importlib.metadata import version
from modulefinder import ModuleFinder
from pathlib import Path

from handler.network.engines import AUTO, EngineOptions, has_gpu
from handler.settings import HandlerSettings
from model import read_metadata
from model.strict import ConfigurationError
from scripts.class_names import canonical_name, read_class_names
from scripts.image_files import find_images
from scripts.package.requirements import requirements
from scripts.served_model_config import ServedModelConfig
from scripts.verify_archive import PROBE
from scripts.yaml_file import read_mapping

ROOT = Path(__file__).parents[2]
_WEIGHTS = ROOT / "model" / "weights"
#: The checkpoints in this repository, by what they recognise.
MODELS = {
    "objects": _WEIGHTS / "deeplabv3_mobilenet_v2_voc.safetensors",
    "scenes": _WEIGHTS / "deeplabv3plus_mobilenet_v2_ade20k31.safetensors",
    "streets": _WEIGHTS / "deeplabv3_mobilenet_edgetpu_cityscapes19.safetensors",
}
DEFAULT_CHECKPOINT, DEFAULT_NAME = MODELS["objects"], "deeplabv3"
DEFAULT_MODEL_CONFIG = ROOT / "handler" / "model-config.yaml"
#: TorchServe's entry point, relative to the repository like all sources.
ENTRY = Path("handler", "deeplab_handler.py")
#: The program that `python MODEL.mar` runs.
MAIN = Path("handler", "servers", "asgi", "archive_main.py")
#: Packages for serving an archive without Java; `handler.servers.asgi.command` reports missing ones from this file.
REQUIREMENTS = "requirements.txt"
#: The earliest time that a zip entry can have.
EPOCH = (1980, 1, 1, 0, 0, 0)
#: All files of the repository that go into an archive, besides its entry point, checkpoint and configuration.
_SOURCES = ("handler/**/*.py", "handler/**/*.binpb", "handler/servers/asgi/static/**/*.*", "model/**/*.py", "LICENSE")


@dataclass(frozen=True)
class Recipe:
    """The inputs of an archive."""

    name: str
    version: str
    checkpoint: Path
    model_config: Path
    #: File with the class names that the checkpoint must have; None for no check.
    class_names: Path | None = None
    #: Folder of photographs on which engines are compared; None for scikit-image's.
    photographs: Path | None = None
    #: Least fraction of equal labels; None for each precision's `MIN_EQUAL_LABELS`.
    least_agreement: float | None = None
    #: Folder of photographs like those to be served, as a reference for drift; None to record no reference.
    reference: Path | None = None
    #: Length in pixels of the side that the checkpoint's resize policy names; None for the policy's own.
    size: int | None = None

    def sources(self) -> list[Path]:
        """Return the allow-listed files, relative to the repository."""
        paths = {path.relative_to(ROOT) for pattern in _SOURCES for path in ROOT.glob(pattern)}
        return sorted(paths - {ENTRY})

    def requirements(self) -> str:
        """Return the text of the archive's `requirements.txt`."""
        return requirements([ROOT / path for path in [*self.sources(), ENTRY]], ROOT / "pyproject.toml")

    def check(self) -> None:
        """Check that the inputs fit together.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the model configuration or the name cannot be used, or the class names differ from the
                checkpoint's.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise ConfigurationError(
                f"--name {self.name!r}: must be letters, digits, '_', '.' and '-', a letter or digit first"
            )
        names = read_metadata(self.checkpoint).classes
        self.handler_settings()
        if self.class_names is None:
            return
        required = read_class_names(self.class_names)
        for index, (name, expected) in enumerate(zip(required, names, strict=False)):
            if name != canonical_name(expected):
                raise ConfigurationError(
                    f"{self.class_names}: class {index} is {name!r}, in {self.checkpoint} it is {expected!r}"
                )
        if len(required) != len(names):
            raise ConfigurationError(f"{self.class_names}: has {len(required)} classes, {self.checkpoint} has {len(names)}")

    def handler_settings(self) -> HandlerSettings:
        """Read the handler's settings from `model_config`.

        Raises:
            ConfigurationError: a setting cannot be used.
        """
        return ServedModelConfig.parse(read_mapping(self.model_config), source=str(self.model_config)).handler

    def digest(self) -> str:
        """Return the SHA-256 of everything that determines an archive's bytes and its proof."""
        values = [
            self.name,
            self.version,
            created_on(),
            self.least_agreement,
            self.reference and self.reference.resolve().name,
            self.size,
            version("torch"),
            self.requirements(),
            *_machine(self),
        ]
        digest = hashlib.sha256(" ".join(map(str, values)).encode())
        photographs = [path for folder in (self.photographs, self.reference) if folder for path in find_images(folder)]
        inputs = {path: path.name for path in [self.checkpoint, self.model_config, *photographs]}
        code = {ROOT / path: str(path) for path in sorted({*self.sources(), ENTRY, *packaging_sources()})}
        for path, name in {**inputs, **code}.items():
            digest.update(f"\n{name} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
        return digest.hexdigest()


def packaging_sources() -> list[Path]:
    """Return the files that run when an archive is built and proven, relative to the repository.

    These are the package's modules and the probe, and all modules that they import, also inside functions.
    """
    finder = ModuleFinder([str(ROOT)])
    for path in [*(ROOT / "scripts" / "package").glob("*.py"), ROOT / PROBE]:
        finder.load_file(str(path))
    files = (vars(module)["__file__"] for module in finder.modules.values())
    return sorted({Path(file).relative_to(ROOT) for file in files if file})


def created_on() -> str:
    """Return the manifest's time: SOURCE_DATE_EPOCH if set (reproducible-builds.org), else the earliest time zip can store."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    moment = time.gmtime(int(seconds)) if seconds else (*EPOCH, 0, 1, 0)
    return time.strftime("%d/%m/%Y %H:%M:%S", moment)


def _machine(recipe: Recipe) -> list[str]:
    """Return the properties of this machine on which the comparison of engines depends."""
    gpu = [str(has_gpu(EngineOptions(gpu_id=0)))]
    if recipe.handler_settings().engine not in {AUTO, "openvino"}:
        return gpu
    from handler.network.engines.openvino_engine import native_precision

    return [*gpu, version("openvino"), native_precision()]
