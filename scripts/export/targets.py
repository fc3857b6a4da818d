"""The targets to which a model can be exported. Each checks its destination first and writes to it last."""

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model.atomic import write_atomically
from model.metadata import CheckpointMetadata
from scripts.errors import UsageError
from scripts.export import onnx_format, openvino_format, triton
from scripts.export.comparison import Run
from scripts.export.network import PixelsToLabels
from scripts.export.ovms import CONFIG, updated_configuration


@dataclass(frozen=True)
class GraphFormat:
    """A file format, and the runtime with which its files are compared with torch."""

    suffix: str
    #: Returns the runtime's name and version.
    runtime: Callable[[], str]
    #: Raises ExportError if the runtime is not installed.
    require_packages: Callable[[], None]
    #: Writes a network and its description to a path with `suffix`, and possibly a .bin file next to it.
    write: Callable[[PixelsToLabels, Mapping[str, str], Path], None]
    #: Loads the file that `write` wrote.
    load: Callable[[Path], Run]


ONNX = GraphFormat(".onnx", onnx_format.runtime, onnx_format.require_packages, onnx_format.write_onnx, onnx_format.load_onnx)
OPENVINO = GraphFormat(
    ".xml", openvino_format.runtime, lambda: None, openvino_format.write_openvino, openvino_format.load_openvino
)


@dataclass(frozen=True)
class Destination:
    """Where to write a model."""

    #: A file, or the folder of a model repository.
    path: Path
    #: The model's name and version in a repository.
    name: str
    version: int


class Target(ABC):
    """Base class of targets."""

    def __init__(self, graph_format: GraphFormat) -> None:
        self.format = graph_format

    @abstractmethod
    def check(self, destination: Destination) -> None:
        """
        Raises:
            UsageError: the destination does not fit the target.
            ExportError: the destination's existing content does not fit the target.
        """

    @abstractmethod
    def publish(self, graph: Path, metadata: CheckpointMetadata, destination: Destination) -> Path:
        """Write the file `graph` and its companions to the destination; return the path to show."""


class SingleFile(Target):
    """A file for a runtime; OpenVINO's has its weights in a second file."""

    def check(self, destination: Destination) -> None:
        if destination.path.suffix != self.format.suffix:
            raise UsageError(f"--out {destination.path}: must end in {self.format.suffix}")
        if destination.path.is_dir():
            raise UsageError(f"--out {destination.path}: is a folder, should be a file")

    def publish(self, graph: Path, metadata: CheckpointMetadata, destination: Destination) -> Path:
        del metadata
        for file in _with_weights(graph):
            write_atomically(destination.path.with_suffix(file.suffix), file.read_bytes())
        return destination.path


class Repository(Target):
    """A folder of models for a server: NAME/VERSION/model.* and the files from `texts`."""

    def check(self, destination: Destination) -> None:
        if destination.path.exists() and not destination.path.is_dir():
            raise UsageError(f"--out {destination.path}: is a file, should be the folder of a model repository")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", destination.name):
            raise UsageError(f"--name {destination.name!r}: must be letters, digits, '_', '.' and '-', a letter or digit first")

    def publish(self, graph: Path, metadata: CheckpointMetadata, destination: Destination) -> Path:
        files = {f"{destination.version}/model{file.suffix}": file.read_bytes() for file in _with_weights(graph)}
        texts = {name: text.encode() for name, text in self.texts(metadata, destination).items()}
        add_folder(destination.path / destination.name, files | texts)
        return destination.path / destination.name

    def texts(self, metadata: CheckpointMetadata, destination: Destination) -> Mapping[str, str]:
        """Return the text files for the model's folder, by relative path."""
        del metadata, destination
        return {}


class TritonRepository(Repository):
    """For Triton Inference Server."""

    def texts(self, metadata: CheckpointMetadata, destination: Destination) -> Mapping[str, str]:
        return {triton.CONFIG: triton.model_configuration(destination.name, metadata)}


class OvmsRepository(Repository):
    """For OpenVINO Model Server, whose configuration lists all models in the folder."""

    def check(self, destination: Destination) -> None:
        super().check(destination)
        updated_configuration(destination.path / CONFIG, destination.name)

    def publish(self, graph: Path, metadata: CheckpointMetadata, destination: Destination) -> Path:
        folder = super().publish(graph, metadata, destination)
        path = destination.path / CONFIG
        write_atomically(path, updated_configuration(path, destination.name).encode())
        return folder


#: Targets by name; default destinations are in `scripts.export.destinations`.
TARGETS: dict[str, Target] = {
    "onnx": SingleFile(ONNX),
    "openvino": SingleFile(OPENVINO),
    "triton": TritonRepository(ONNX),
    "ovms": OvmsRepository(OPENVINO),
}


def add_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files`, by relative path, into `folder`: atomically if it is new, else replacing files in the given order."""
    if folder.exists():
        for name, content in files.items():
            write_atomically(folder / name, content)
        return
    part = folder.with_name(f".{folder.name}.part")
    try:
        for name, content in files.items():
            write_atomically(part / name, content)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _with_weights(graph: Path) -> list[Path]:
    """Return the files of `graph`, weights first, because the graph is useless without them."""
    weights = graph.with_suffix(".bin")
    return [weights, graph] if weights.exists() else [graph]
