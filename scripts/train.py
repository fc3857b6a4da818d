"""Train a network from start weights; the best epoch becomes a checkpoint that can be served.

python -m scripts.train --config scripts/configs/NAME.yaml --data VOC_FOLDER --start WEIGHTS --out CHECKPOINT
"""

import argparse
import copy
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, WeightedRandomSampler
from tqdm import tqdm

from handler.encoders import ModelIdentity
from handler.engines import EngineOptions
from handler.engines.torch_engine import TorchEngine
from handler.pipeline import Pipeline
from handler.settings import Limits
from model import Checkpoint, CheckpointError, CheckpointMetadata, DeepLabV3, build_model, save_checkpoint
from model.palette import voc_palette
from model.preprocessing import Normalize
from model.strict import ConfigurationError
from scripts.class_names import read_class_names
from scripts.evaluation.metrics import Scores, score
from scripts.training.config import TrainingConfig
from scripts.training.start import begin_from, centre_cells, centred_view, fresh_layers, load_start
from scripts.training.voc import VOID, Crops, VocFolder, augmentation, balanced_weights

logger = logging.getLogger("train")


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        train(TrainingConfig.read(arguments.config), VocFolder.open(arguments.data), load_start(arguments.start), arguments.out)
    except (ConfigurationError, CheckpointError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def train(config: TrainingConfig, folder: VocFolder, start: Mapping[str, Tensor], out: Path) -> None:
    """Train from `start` on `folder`, less the images held out; write the best epoch to `out`.

    Raises:
        CheckpointError: `start` does not fit the network.
    """
    torch.manual_seed(config.seed)
    held_out = folder.subset(folder.ids[:: config.held_out_every])
    training = folder.subset([image_id for image_id in folder.ids if image_id not in set(held_out.ids)])

    metadata = describe(config)
    network = build_model(config.model)
    begin_from(network, start)
    trainer = Trainer(network, config)
    logger.info("start: %s", _line(evaluate(network, metadata, held_out)))
    best = None
    for epoch, loss, seconds in trainer.epochs(training):
        scores = evaluate(network, metadata, held_out)
        logger.info("epoch %d of %d: loss %.4f, %s, %.0f s", epoch, config.epochs, loss, _line(scores), seconds)
        if best is None or scores.miou > best.miou:
            best = scores
            save(out, network, metadata, scores, held_out)
    logger.info("the best epoch is in %s\nserve it: make serve CHECKPOINT=%s", out, out)


class Trainer:
    """Stochastic gradient descent on cross-entropy and the divergence from the network as it is given: the start."""

    def __init__(self, network: DeepLabV3, config: TrainingConfig) -> None:
        self._network = network
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._teacher = copy.deepcopy(network).eval().requires_grad_(False)
        centre_cells(network)
        self._config = config
        self._normalize = Normalize(config.normalization)
        self._optimizer = torch.optim.SGD(
            [
                {"params": list(network.backbone.parameters()), "lr": config.backbone_learning_rate},
                {"params": list(network.classifier.parameters()), "lr": config.head_learning_rate},
            ],
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def epochs(self, training: VocFolder) -> Iterator[tuple[int, float, float]]:
        """Train; after each epoch yield its number, mean loss and seconds."""
        config = self._config
        crops = Crops(training, augmentation(config.crop_size, config.resize.size, config.scale_range, config.normalization))
        sampler = WeightedRandomSampler(balanced_weights(training), len(crops))
        loader = DataLoader(crops, config.batch_size, sampler=sampler, drop_last=True, num_workers=config.workers)
        scheduler = torch.optim.lr_scheduler.PolynomialLR(self._optimizer, config.epochs * len(loader), power=0.9)
        for epoch in range(1, config.epochs + 1):
            began = time.monotonic()
            self._train_mode()
            losses = []
            for images, masks in (progress := tqdm(loader, f"epoch {epoch}", file=sys.stderr, leave=False)):
                losses.append(self._step(images, masks))
                progress.set_postfix(loss=f"{losses[-1]:.3f}")
                scheduler.step()
            yield epoch, float(np.mean(losses)), time.monotonic() - began

    def _train_mode(self) -> None:
        """Every weight learns, but only the new branches gather batch statistics: small batches would spoil the start's."""
        self._network.train()
        for module in self._network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        for branch in fresh_layers(self._network):
            branch.train()

    def _step(self, images: Tensor, masks: Tensor) -> float:
        pixels = self._normalize(images.permute(0, 2, 3, 1)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self._network(pixels)["out"]
            with torch.no_grad():
                target = self._teacher(centred_view(pixels, self._config.model.output_stride))["out"]
        size = masks.shape[-2:]
        upsampled = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
        loss = F.cross_entropy(upsampled, masks, ignore_index=VOID)
        divergence = F.kl_div(logits.float().log_softmax(1), target.float().softmax(1), reduction="none").sum(1).mean()
        total = loss + self._config.distillation_weight * divergence
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), self._config.clip_norm)
        self._optimizer.step()
        return float(total.detach())


def evaluate(network: DeepLabV3, metadata: CheckpointMetadata, folder: VocFolder) -> Scores:
    """Score the network as it would be served."""
    engine = TorchEngine(Checkpoint(network, metadata), EngineOptions())
    pipeline = Pipeline(engine, metadata, ModelIdentity("training", ""), Limits())
    pairs = ((pipeline.segment(image).label_map, mask) for image, mask in map(folder.read, folder.ids))
    return score(pairs, metadata.model.num_classes)


def describe(config: TrainingConfig) -> CheckpointMetadata:
    """What the checkpoint will say of itself, but for how it scored."""
    return CheckpointMetadata(
        model=config.model,
        classes=read_class_names(),
        palette=voc_palette(config.model.num_classes),
        normalization=config.normalization,
        resize=config.resize,
        provenance=config.provenance,
        license=config.license,
    )


def save(path: Path, network: DeepLabV3, metadata: CheckpointMetadata, scores: Scores, held_out: VocFolder) -> None:
    """Write a servable checkpoint."""
    dataset = f"{len(held_out.ids)} images held out of {held_out.root.name}"
    evaluation = scores.evaluation(dataset, "single scale; the epoch was chosen by it")
    save_checkpoint(path, network, metadata.model_copy(update={"evaluations": (evaluation,)}), half=True)


def _line(scores: Scores) -> str:
    return f"mIoU {scores.miou:.4f}, pixel accuracy {scores.pixel_accuracy:.4f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.train", description="Train a servable checkpoint.")
    parser.add_argument("--config", type=Path, required=True, help="YAML file, see scripts/training/config.py")
    parser.add_argument("--data", type=Path, required=True, help="folder in PASCAL VOC's layout")
    parser.add_argument("--start", type=Path, required=True, help="safetensors file, see scripts/training/start.py")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
