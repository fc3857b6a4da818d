"""Package TorchServe's own segmentation handler with the weights of one of our checkpoints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.serving.benchmark_plan import Case
from model import load_checkpoint
from scripts.yaml_file import write_mapping

NAME = "baseline"
_HERE = Path(__file__).parent
_OPERATORS = Path("model", "torchvision_ops.py")


def build_baseline(case: Case, checkpoint: Path, folder: Path) -> Path:
    """Write the archive with torch-model-archiver and return its path.

    Args:
        case: the case, whose network must have a file in `model_files`.
        checkpoint: provides the weights and the size of the network's input.
        folder: emptied, then filled with the archive and its intermediate files.
    """
    original = load_checkpoint(checkpoint)
    stage, scratch, weights = folder / "stage", folder / "tmp", folder / "weights.pth"
    shutil.rmtree(folder, ignore_errors=True)
    (stage / _OPERATORS.parent).mkdir(parents=True)
    scratch.mkdir()
    # The handler needs only this module of `model`; more would add to its worker's memory.
    (stage / _OPERATORS.parent / "__init__.py").touch()
    shutil.copyfile(_HERE.parents[2] / _OPERATORS, stage / _OPERATORS)
    # Our state dict has torchvision's keys.
    torch.save(original.network.state_dict(), weights)
    config = folder / "model-config.yaml"
    settings = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 1, "responseTimeout": 120}
    write_mapping(config, {**settings, "short_side": original.metadata.resize.size})
    command = [str(Path(sys.executable).parent / "torch-model-archiver"), "--model-name", NAME, "--version", "1.0"]
    command += ["--model-file", str(_HERE / "model_files" / f"{case.network}.py"), "--serialized-file", str(weights)]
    command += ["--handler", str(_HERE / "whole_image_segmenter.py"), "--config-file", str(config)]
    command += ["--extra-files", str(stage), "--export-path", str(folder), "--archive-format", "zip-store"]
    subprocess.run(command, check=True, env={**os.environ, "TMPDIR": str(scratch)})
    weights.unlink()
    return folder / f"{NAME}.mar"
