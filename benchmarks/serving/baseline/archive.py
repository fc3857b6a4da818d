"""An archive of TorchServe's own segmentation handler, with the weights of one of our checkpoints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from benchmarks.serving.benchmark_plan import Case
from model import load_checkpoint

NAME = "baseline"
_HERE = Path(__file__).parent
_OPERATORS = Path("model", "torchvision_ops.py")


def build_baseline(case: Case, checkpoint: Path, folder: Path) -> Path:
    """Write the archive into `folder`, with torch-model-archiver alone.

    Args:
        case: of which the network is taken; there must be a model file for it in `model_files`.
        checkpoint: its weights, and how large the network is to see an image.
        folder: for the archive and what it is made of.
    """
    loaded = load_checkpoint(checkpoint)
    stage, scratch, weights = folder / "stage", folder / "tmp", folder / "weights.pth"
    shutil.rmtree(folder, ignore_errors=True)
    (stage / _OPERATORS.parent).mkdir(parents=True)
    scratch.mkdir()
    # Of the package `model` the handler needs this one module, and its worker is to hold no more.
    (stage / _OPERATORS.parent / "__init__.py").touch()
    shutil.copyfile(_HERE.parents[2] / _OPERATORS, stage / _OPERATORS)
    # Torchvision's keys are ours.
    torch.save(loaded.network.state_dict(), weights)
    config = folder / "model-config.yaml"
    settings = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 1, "responseTimeout": 120}
    config.write_text(yaml.safe_dump({**settings, "short_side": loaded.metadata.resize.size}))
    command = [str(Path(sys.executable).parent / "torch-model-archiver"), "--model-name", NAME, "--version", "1.0"]
    command += ["--model-file", str(_HERE / "model_files" / f"{case.network}.py"), "--serialized-file", str(weights)]
    command += ["--handler", str(_HERE / "whole_image_segmenter.py"), "--config-file", str(config)]
    command += ["--extra-files", str(stage), "--export-path", str(folder), "--archive-format", "zip-store"]
    subprocess.run(command, check=True, env={**os.environ, "TMPDIR": str(scratch)})
    weights.unlink()
    return folder / f"{NAME}.mar"
