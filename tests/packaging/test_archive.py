"""The archive's contents, its reproducibility, and its independence of the repository."""

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from handler.archive import extract_archive
from handler.network.engines.archive import GRAPH
from handler.network.engines.openvino_engine import native_precision
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.servers.asgi.command import _PACKAGES
from handler.settings import HandlerSettings
from model import CheckpointError, Evaluation, ModelConfig, ResizePolicy, read_metadata
from model.strict import ConfigurationError
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, Recipe
from scripts.package.__main__ import main
from scripts.package.build import build, read_agreement
from scripts.package.recipe import packaging_sources
from scripts.samples import write_samples
from scripts.verify_archive import ArchiveError, verify
from tests.quantized import Quantized
from tests.support import CLASSES, ROOT, write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "pets.safetensors")


@pytest.fixture(scope="module")
def torch_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration in which PyTorch runs the network, which saves the seconds of conversion and comparison."""
    path = tmp_path_factory.mktemp("torch") / "model-config.yaml"
    path.write_text("handler: {engine: torch}")
    return path


@pytest.fixture(scope="module")
def archive(small_archive: Path) -> Path:
    return small_archive


def recipe(checkpoint: Path, class_names: Path | None = None, config: Path = DEFAULT_MODEL_CONFIG) -> Recipe:
    return Recipe("pets", "1.0", checkpoint, config, class_names)


def test_the_archive_contains_exactly_the_needed_files(archive: Path) -> None:
    names = set(zipfile.ZipFile(archive).namelist())

    patterns = ("handler/**/*.py", "handler/**/*.binpb", "handler/servers/asgi/static/**/*.*", "model/**/*.py")
    code = {path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern)}
    assert names == (code - {"handler/deeplab_handler.py"}) | {
        "MAR-INF/MANIFEST.json", "LICENSE", "__main__.py", "deeplab_handler.py", "index_to_name.json", "model-config.yaml",
        "model.safetensors", "requirements.txt", "graphs/network.xml", "graphs/network.bin", "graphs/agreement.json",
        "monitoring/reference.json",
    }  # fmt: skip


def test_an_archive_that_runs_torch_has_no_graph(checkpoint: Path, torch_config: Path, tmp_path: Path) -> None:
    packed = build(recipe(checkpoint, config=torch_config), tmp_path)

    assert read_agreement(packed).engines == ()
    assert GRAPH.as_posix() not in zipfile.ZipFile(packed).namelist()


def test_a_new_size_is_written_to_the_checkpoint_and_older_metrics_keep_theirs(
    torch_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.package.command.verify", lambda part: f"{part.name} works")
    figures = Evaluation(dataset="a", miou=0.5, conditions="single scale")
    checkpoint = write_checkpoint(tmp_path / "pets.safetensors", evaluations=(figures,))
    source = ["--checkpoint", str(checkpoint), "--model-config", str(torch_config), "--name", "pets"]

    assert main([*source, "--size", "40", "--out", str(tmp_path)]) == 0

    folder = extract_archive(tmp_path / "pets.mar", tmp_path / "extracted").folder
    packed, before = read_metadata(folder / "model.safetensors"), read_metadata(checkpoint)
    assert packed.resize == before.resize.model_copy(update={"size": 40})
    assert packed.evaluations[0].conditions == "single scale, at 64 pixels of the long side"


def test_the_digest_depends_on_the_size(checkpoint: Path, torch_config: Path) -> None:
    default = recipe(checkpoint, config=torch_config)

    assert replace(default, size=40).digest() != default.digest()


@pytest.mark.parametrize("size", ["31", "4097", "448.5", "-448", "large"])
def test_an_invalid_size_is_refused(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--size", size, "--out", str(tmp_path)]) == 2

    assert f"--size: '{size}' must be a whole number, from 32 to 4096" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_engine_of_this_machine_is_compared_with_torch(archive: Path) -> None:
    engines = read_agreement(archive).engines

    native = native_precision()
    expected = ["float32"] if native == "float32" else ["float32", "bfloat16"]
    assert [(entry.engine, entry.precision) for entry in engines] == [("openvino", precision) for precision in expected]
    assert engines[0].equal_labels >= engines[0].required == 0.9999


def test_a_folder_without_photographs_stops_the_build(checkpoint: Path, torch_config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no images"):
        build(replace(recipe(checkpoint, config=torch_config), photographs=tmp_path), tmp_path / "store")


def test_the_manifest_names_handler_checkpoint_and_configuration(archive: Path) -> None:
    manifest = json.loads(zipfile.ZipFile(archive).read("MAR-INF/MANIFEST.json"))

    assert manifest["model"] == {
        "modelName": "pets",
        "modelVersion": "1.0",
        "serializedFile": "model.safetensors",
        "handler": "deeplab_handler.py",
        "configFile": "model-config.yaml",
    }


def test_requirements_list_the_imported_packages_as_pinned_by_this_project(archive: Path) -> None:
    lines = zipfile.ZipFile(archive).read("requirements.txt").decode().splitlines()

    declared = [line.split("[")[0] for line in requires("deeplab-serve") or [] if "extra ==" not in line]
    assert set(lines) < set(declared)
    assert {line.partition("==")[0] for line in lines} >= set(_PACKAGES.values()) | {"openvino", "timm"}
    assert not any(line.startswith(("torchserve", "torch-model-archiver", "requests")) for line in lines)


def test_class_names_come_from_the_checkpoint(archive: Path) -> None:
    names = json.loads(zipfile.ZipFile(archive).read("index_to_name.json"))

    assert names == {str(index): name for index, name in enumerate(CLASSES)}


def test_builds_are_reproducible(archive: Path, checkpoint: Path, tmp_path: Path) -> None:
    rebuilt = build(replace(recipe(checkpoint), reference=archive.parent / "photographs"), tmp_path)

    assert rebuilt.read_bytes() == archive.read_bytes()


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            ModelConfig(architecture="deeplabv3plus", backbone="timm:mobilenetv2_050", output_stride=16, separable=True),
            marks=pytest.mark.exhaustive,
        ),
        # It needs timm too.
        ModelConfig(architecture="smp_deeplabv3plus", backbone="mobilenet_v2", output_stride=16),
    ],
    ids=lambda model: model.backbone,
)
def test_the_archive_works_alone_if_another_library_builds_its_network(
    model: ModelConfig, torch_config: Path, tmp_path: Path
) -> None:
    """Without a graph, because no worker would build the network if it had one."""
    config = model.model_copy(update={"num_classes": len(CLASSES)})
    checkpoint = write_checkpoint(tmp_path / "a.safetensors", model=config, resize=ResizePolicy(size=64, multiple=16))

    assert "into 3 class names" in verify(build(recipe(checkpoint, config=torch_config), tmp_path))


def test_a_quantized_archive_has_its_graph_and_its_agreement_on_photographs(quantized: Quantized, tmp_path: Path) -> None:
    photographs = tmp_path / "streets"
    write_samples(photographs)
    (photographs / "note.txt").write_text("not a photograph")

    archive = build(replace(recipe(quantized.path), photographs=photographs), tmp_path)

    zipfile.ZipFile(archive).extractall(tmp_path)
    served = Pipeline.load(tmp_path / "model.safetensors", HandlerSettings(), ModelIdentity("pets", "1.0"), archive=tmp_path)
    agreement = read_agreement(archive)
    (compared,) = agreement.engines
    assert (served.engine.precision, compared.engine, compared.precision) == ("int8", "openvino", "int8")
    assert 0.85 < compared.equal_labels < 1
    assert (agreement.photographs, compared.images) == ("streets", 2)


def test_the_archive_works_alone_and_pythonpath_cannot_shadow_its_modules(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "__init__.py").write_text("raise ImportError('the wrong handler')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert "into 3 class names" in verify(archive)


@pytest.mark.parametrize(
    "missing",
    [
        "model/aspp.py",
        pytest.param("model.safetensors", marks=pytest.mark.exhaustive),
        pytest.param("handler/geometry.py", marks=pytest.mark.exhaustive),
    ],
)
def test_verification_detects_a_missing_file(archive: Path, tmp_path: Path, missing: str) -> None:
    broken = tmp_path / "pets.mar"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            if name != missing:
                target.writestr(name, source.read(name))

    with pytest.raises(ArchiveError, match="does not work"):
        verify(broken)


def test_verification_detects_modules_from_outside(archive: Path, tmp_path: Path) -> None:
    """An installed package with the same name must not replace the archive's."""
    folder = tmp_path / "archive"
    zipfile.ZipFile(archive).extractall(folder)
    shutil.move(folder / "handler", tmp_path / "handler")
    program = f"import sys, runpy; sys.path.append({str(tmp_path)!r}); sys.argv[1:] = [{str(folder)!r}]\n"
    program += f"runpy.run_path({str(ROOT / 'scripts' / 'archive_probe.py')!r}, run_name='__main__')"

    result = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path)

    assert result.returncode != 0
    assert "handler came from" in result.stderr


def test_a_file_that_is_not_an_archive_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.mar"
    path.write_text("nothing")

    with pytest.raises(ArchiveError, match=r"a\.mar: not a model archive"):
        verify(path)


def test_class_names_that_differ_from_the_checkpoints_stop_the_build(checkpoint: Path, tmp_path: Path) -> None:
    names = tmp_path / "index_to_name.json"
    names.write_text('{"0": "background", "1": "cat", "2": "fox"}')

    with pytest.raises(ConfigurationError, match=r"index_to_name\.json.*'fox'.*pets\.safetensors.*'dog'"):
        build(recipe(checkpoint, names), tmp_path)

    assert not (tmp_path / "pets.mar").exists()


def test_a_misspelt_setting_stops_the_build(checkpoint: Path, tmp_path: Path) -> None:
    config = tmp_path / "model-config.yaml"
    config.write_text("handler: {limits: {max_pixel: 3}}")

    with pytest.raises(ConfigurationError, match=r"'handler\.limits\.max_pixel'.*'max_pixels'"):
        build(recipe(checkpoint, config=config), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minWorker: 1", "'minWorker'.*'minWorkers'"),
        ("batchSize: x", "'batchSize'.*'x'"),
        ("minWorkers: 1", "minWorkers.*maxWorkers"),
    ],
)
def test_an_invalid_torchserve_setting_stops_the_build(checkpoint: Path, tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "model-config.yaml"
    config.write_text(text)

    with pytest.raises(ConfigurationError, match=message):
        build(recipe(checkpoint, config=config), tmp_path)


def test_an_invalid_name_stops_the_build(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checkpoint", str(checkpoint), "--name", "a/b", "--out", str(tmp_path)]) == 1
    assert "--name 'a/b': must be letters" in capsys.readouterr().err


def test_a_missing_checkpoint_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors"):
        build(recipe(tmp_path / "nothing.safetensors"), tmp_path)


def test_the_digest_depends_on_the_code_that_builds_archives(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("handler", "model", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr("scripts.package.recipe.ROOT", tmp_path)
    digests = [recipe(checkpoint).digest()]

    for name in ("scripts/class_names.py", "scripts/archive_probe.py", "handler/labels.py"):
        with (tmp_path / name).open("a") as source:
            source.write("# changed\n")
        digests.append(recipe(checkpoint).digest())
    (tmp_path / "scripts" / "demo.py").unlink()

    assert len(set(digests)) == len(digests)
    assert recipe(checkpoint).digest() == digests[-1]


def test_packaging_sources_include_every_import() -> None:
    names = {path.as_posix() for path in packaging_sources()}

    assert names >= {
        *("scripts/served_model_config.py", "scripts/yaml_file.py", "scripts/agreement.py", "scripts/samples.py"),
        *("scripts/package/__main__.py", "scripts/package/build.py", "scripts/verify_archive.py"),
        "handler/network/engines/openvino_graph.py",  # Imported inside a function.
    }
    assert "scripts/demo.py" not in names


def test_an_up_to_date_archive_is_not_rebuilt(
    checkpoint: Path, torch_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--model-config", str(torch_config), "--name", "pets", "--out", str(tmp_path)]

    monkeypatch.setattr("scripts.package.command.verify", lambda part: f"{part.name} works")
    assert main(arguments) == 0
    assert "proven: pets.mar.part works" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "is up to date" in capsys.readouterr().out
    class_names = tmp_path / "other.json"
    class_names.write_text('["background", "cat", "fox"]')
    assert main([*arguments, "--class-names", str(class_names)]) == 1
    assert "class 2 is 'fox'" in capsys.readouterr().err
    (tmp_path / "pets.mar").write_bytes(b"spoilt")
    monkeypatch.setattr("scripts.package.command.verify", lambda part: f"{part.name} again")
    assert main(arguments) == 0
    assert "proven: pets.mar.part again" in capsys.readouterr().out


def test_a_failed_verification_keeps_the_previous_archive(checkpoint: Path, torch_config: Path, tmp_path: Path) -> None:
    predecessor = tmp_path / "pets.mar"
    predecessor.write_bytes(b"serves")
    proven = []

    def refuse(part: Path) -> None:
        proven.append((part.name, zipfile.is_zipfile(part), predecessor.read_bytes()))
        raise ArchiveError("does not work")

    with pytest.raises(ArchiveError):
        build(recipe(checkpoint, config=torch_config), tmp_path, refuse)

    assert proven == [("pets.mar.part", True, b"serves")]
    assert predecessor.read_bytes() == b"serves"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_non_finite_weights_are_refused(
    checkpoint: Path, tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(checkpoint)
    tensors["classifier.4.weight"][0, 0] = float("nan")
    with safe_open(checkpoint, framework="pt") as file:
        save_file(tensors, tmp_path / "broken.safetensors", file.metadata())
    (tmp_path / "broken.mar").write_bytes(b"serves")
    config = tmp_path / "model-config.yaml"
    config.write_text(f"handler: {{engine: {engine}}}")
    source = ["--checkpoint", str(tmp_path / "broken.safetensors"), "--model-config", str(config)]

    assert main([*source, "--name", "broken", "--out", str(tmp_path)]) == 1

    assert "broken.safetensors: weights that are NaN or infinite: classifier.4.weight (1 of 768)" in capsys.readouterr().err
    assert (tmp_path / "broken.mar").read_bytes() == b"serves"


def test_the_default_checkpoint_has_the_class_names_of_this_repository() -> None:
    Recipe("deeplabv3", "1.0", DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, ROOT / "index_to_name.json").check()


def test_the_default_checkpoint_is_at_most_16_mb() -> None:
    assert DEFAULT_CHECKPOINT.stat().st_size <= 16_000_000
