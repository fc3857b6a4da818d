"""Build a model archive from a recipe."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from handler.network.engines import AUTO, ModelFiles
from handler.network.engines.archive import AGREEMENT, GRAPH, Agreement
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings
from model import read_metadata
from scripts.agreement import compare_engines, require_agreement
from scripts.class_names import index_to_name
from scripts.package.recipe import ENTRY, EPOCH, MAIN, REQUIREMENTS, ROOT, Recipe, created_on
from scripts.package.reference import record_reference, write_reference


def build(recipe: Recipe, store: Path, prove: Callable[[Path], object] | None = None) -> Path:
    """Write `store/NAME.mar`; the same inputs give the same bytes on machines whose engines round the same way.

    Args:
        prove: raises an error for an archive that does not work. It is called with the new archive before that replaces the
            previous one, which is kept on an error.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: the model configuration cannot be used, or the class names differ from the checkpoint's.
        DisagreementError: an engine labels too many pixels differently from torch in float32.
    """
    recipe.check()
    names = read_metadata(recipe.checkpoint).classes
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="deeplab-package-") as folder:
        if recipe.size is not None:
            recipe = replace(recipe, checkpoint=write_resized(recipe.checkpoint, recipe.size, Path(folder)))
        stage = Path(folder) / "stage"
        for source in recipe.sources():
            (stage / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / source, stage / source)
        shutil.copyfile(ROOT / MAIN, stage / "__main__.py")
        (stage / REQUIREMENTS).write_text(recipe.requirements())
        (stage / "index_to_name.json").write_text(index_to_name(names))
        settings = recipe.handler_settings()
        files = add_graph(stage, ModelFiles(recipe.checkpoint, settings.output_stride), settings)
        agreement = compare_engines(files, settings, recipe.photographs, recipe.least_agreement)
        require_agreement(agreement, settings.precision)
        (stage / AGREEMENT).parent.mkdir(exist_ok=True)
        (stage / AGREEMENT).write_text(agreement.model_dump_json(indent=2) + "\n")
        if recipe.reference is not None:
            identity = ModelIdentity(recipe.name, recipe.version)
            pipeline = Pipeline.load(recipe.checkpoint, settings, identity, archive=stage)
            write_reference(record_reference(pipeline, recipe.reference), stage)
        unpacked = _run_archiver(recipe, stage, Path(folder))
        return _replace(store / f"{recipe.name}.mar", unpacked, prove)


def _replace(archive: Path, unpacked: Path, prove: Callable[[Path], object] | None) -> Path:
    """Zip `unpacked` next to `archive`, prove the result, then replace `archive` with it."""
    part = archive.with_suffix(".mar.part")
    try:
        _zip(unpacked, part)
        if prove is not None:
            prove(part)
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
    return archive


def write_resized(checkpoint: Path, size: int, folder: Path) -> Path:
    """Write a copy of `checkpoint` with `size` in its resize policy into `folder`; return its path.

    Evaluations are kept, marked with the size at which they were made.
    """
    # Not at the top: it imports torch, which an archive that is up to date does not need.
    from model import replace_metadata

    metadata = read_metadata(checkpoint)
    policy = metadata.resize
    condition = f"at {policy.size} pixels of the {policy.side} side"
    changes = {
        "resize": policy.model_copy(update={"size": size}),
        "evaluations": tuple(evaluation.with_condition(condition) for evaluation in metadata.evaluations),
    }
    path = folder / checkpoint.name
    shutil.copyfile(checkpoint, path)
    replace_metadata(path, metadata.model_copy(update=changes))
    return path


def add_graph(stage: Path, files: ModelFiles, settings: HandlerSettings) -> ModelFiles:
    """Convert the network now if OpenVINO may run it, so that no worker has to; return `files` with any graph added."""
    if settings.engine not in {AUTO, "openvino"}:
        return files
    from handler.network.engines.openvino_graph import make_graph, write_graph

    write_graph(make_graph(files, settings.precision), stage / GRAPH)
    return replace(files, graph=stage / GRAPH)


def read_agreement(archive: Path) -> Agreement:
    """Read the agreement of the engines from `archive`."""
    with zipfile.ZipFile(archive) as file:
        return Agreement.model_validate_json(file.read(AGREEMENT.as_posix()))


def _run_archiver(recipe: Recipe, stage: Path, folder: Path) -> Path:
    """Lay out the archive as a folder with torch-model-archiver, which gets a scratch TMPDIR because it empties that folder."""
    checkpoint = folder / "model.safetensors"
    checkpoint.symlink_to(recipe.checkpoint.resolve())
    config = folder / "model-config.yaml"
    config.symlink_to(recipe.model_config.resolve())
    exported, scratch = folder / "exported", folder / "tmp"
    exported.mkdir()
    scratch.mkdir()
    command = [str(Path(sys.executable).parent / "torch-model-archiver"), "--archive-format", "no-archive"]
    command += ["--model-name", recipe.name, "--version", recipe.version, "--handler", str(ROOT / ENTRY)]
    command += ["--serialized-file", str(checkpoint), "--config-file", str(config)]
    command += ["--extra-files", str(stage), "--export-path", str(exported)]
    subprocess.run(command, check=True, env={**os.environ, "TMPDIR": str(scratch)})
    manifest = exported / recipe.name / "MAR-INF" / "MANIFEST.json"
    content = json.loads(manifest.read_text())
    content["createdOn"] = created_on()
    manifest.write_text(json.dumps(content, indent=2) + "\n")
    return exported / recipe.name


def _zip(folder: Path, archive: Path) -> None:
    """Zip with fixed order and times, uncompressed: weights do not shrink, and a worker starts sooner."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
            entry.external_attr = 0o644 << 16
            target.writestr(entry, path.read_bytes())
