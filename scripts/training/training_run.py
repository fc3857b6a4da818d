"""A training run: from data to a servable checkpoint, in a folder with logs and a state to resume from."""

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader
from tqdm import tqdm

from handler.labels import Labels
from handler.limits import Limits
from handler.network.engines import EngineOptions
from handler.network.engines.torch_engine import TorchEngine
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from model import (
    Checkpoint,
    CheckpointMetadata,
    Evaluation,
    Network,
    build_model,
    load_checkpoint,
    replace_metadata,
    save_checkpoint,
)
from model.atomic import write_atomically
from model.palette import voc_palette
from model.strict import ConfigurationError
from scripts.calibrate.reliability import draw_reliability
from scripts.calibrate.temperature import calibrate_pipeline
from scripts.errors import UserError, print_warning
from scripts.evaluate.metrics import Scores, compare
from scripts.training.augmentation import Augmentation, TrainingCrops
from scripts.training.backbone_weights import load_backbone_weights, published_normalization
from scripts.training.config import TrainingConfig
from scripts.training.losses import WEIGHTED, class_weights
from scripts.training.processes import Processes
from scripts.training.run_state import STATE_FILE, RunState, read_state, write_state
from scripts.training.sampling import Draws, balanced_weights
from scripts.training.trainer import Batch, Trainer, move_to_device
from scripts.training.training_data import TrainingData
from scripts.training.watch.curves import draw_curves
from scripts.training.watch.run_log import EVALUATIONS, STEPS, EvaluationRow, RunLog, StepRow
from scripts.training.watch.sample_sheet import draw_samples
from scripts.training.weights import CheckpointWeights

#: Validation images on the sample sheet of an evaluation.
_SHEET_ROWS = 6


class Diverged(UserError):
    """The loss became NaN or infinite."""


@dataclass
class Progress:
    """How far a run has progressed."""

    iteration: int = 0
    #: Mean IoU of the last evaluation.
    miou: float = float("nan")
    #: The best selection score so far, and the iteration that reached it.
    best: float | None = None
    best_iteration: int | None = None


class Run:
    """One training run in its folder.

    Args:
        folder: receives `state.pt` to resume from, `config.json`, logs, curves and sample sheets.
        checkpoint: file for the best weights, with the metadata that makes them servable.
        weights: reads the start weights and the teacher; by default both are checkpoints.
        resume: continue from the state in `folder`.

    Raises:
        ConfigurationError: parts of the configuration contradict each other, or there is no state to resume from.
        CheckpointError: the start weights or the teacher cannot be used.
        FileExistsError: a new run's folder holds the log of another run.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: TrainingData,
        processes: Processes,
        folder: Path,
        checkpoint: Path,
        *,
        weights: CheckpointWeights | None = None,
        resume: bool = False,
    ) -> None:
        self._config, self._data, self._processes = config, data, processes
        self._weights = weights or CheckpointWeights()
        self._folder, self._checkpoint, self._resume = folder, checkpoint, resume
        if not resume and (existing := [name for name in (STATE_FILE, STEPS, EVALUATIONS) if (folder / name).exists()]):
            raise FileExistsError(f"{folder}: already holds {existing[0]} of another run; use --resume or another folder")
        self._metadata = describe(config, data)
        self._process_batch_size = processes.process_batch_size(
            config.batch_size, config.accumulation, frozen_batch_norm=config.frozen_batch_norm
        )
        if config.augmentation.crop_size is None and self._process_batch_size > 1:
            raise ConfigurationError(
                f"augmentation.crop_size null: whole images differ in size, so each batch must be one image: set "
                f"accumulation to {config.batch_size // processes.count} and frozen_batch_norm to true, or give a crop_size"
            )
        self._steps_per_epoch = len(data.training) // config.batch_size
        if not self._steps_per_epoch:
            raise ConfigurationError(
                f"batch_size {config.batch_size}: must be at most the number of training images, {len(data.training)}"
            )
        balance = config.class_balance
        present = [data.summary.present[sample.name] for sample in data.training.samples]
        self._draws = Draws(
            len(present),
            weights=balanced_weights(present, power=balance) if balance else None,
            seed=config.seed,
            rank=processes.rank,
            world_size=processes.count,
        )
        self._crops = TrainingCrops(data.training, Augmentation(config.augmentation, config.resize, config.normalization))
        self._progress = Progress()
        self._trainer = self._resume_trainer() if resume else self._new_trainer()

    def train(self) -> None:
        """Train to the last epoch; afterwards the checkpoint holds the best network."""
        config, progress = self._config, self._progress
        total_steps = config.epochs * self._steps_per_epoch
        # A run that ended before its first step logs its evaluation again.
        resumed_at = (progress.iteration or -1) if self._resume else None
        log = RunLog(self._folder, resumed_at=resumed_at) if self._processes.is_first else None
        bar: tqdm[Any] = tqdm(
            total=total_steps, initial=progress.iteration, desc="training", file=sys.stderr, disable=log is None
        )
        if progress.iteration == 0:
            self._save_state()
            self._evaluate(log)
        while progress.iteration < total_steps:
            epoch, skipped = divmod(progress.iteration, self._steps_per_epoch)
            self._trainer.begin_epoch()
            for batches in self._steps(epoch, skipped):
                self._take_step(batches, epoch + 1, log, bar)
                if progress.iteration % config.state_every == 0 and progress.iteration % self._steps_per_epoch:
                    self._save_state()
            self._evaluate(log)
            self._save_state()
        bar.close()
        if log is not None:
            log.close()
            self._calibrate()
            tqdm.write(f"saved the best network, of iteration {progress.best_iteration}: {self._checkpoint}")
            tqdm.write(f"serve it: make serve CHECKPOINT={self._checkpoint}")

    def _new_trainer(self) -> Trainer:
        torch.manual_seed(self._config.seed)
        network: Network = move_to_device(build_model(self._config.model), self._processes.device)
        if self._config.start is not None:
            crops = (images for batches in self._steps(0, 0) for images, _ in batches[:1])
            self._weights.initialize(network, self._config.start, self._config, self._metadata, crops)
            self._processes.share_buffers(network)
        if self._config.backbone_weights is not None:
            self._load_backbone(network, self._config.backbone_weights)
        trainer = self._build_trainer(network)
        if self._processes.is_first:
            write_atomically(self._folder / "config.json", self._config.model_dump_json(indent=2).encode())
        return trainer

    def _load_backbone(self, network: Network, source: str) -> None:
        """Load the backbone's weights in the first process, then in the others, which find them in the cache."""
        if not self._processes.is_first:
            self._processes.wait()
        sentence = load_backbone_weights(network, source, self._config.model)
        if not self._processes.is_first:
            return
        tqdm.write(sentence)
        if (published := published_normalization(self._config.model)) != self._config.normalization:
            print_warning(f"published weights of {self._config.model.backbone} expect images normalized by {published!r}")
        self._processes.wait()

    def _resume_trainer(self) -> Trainer:
        state = read_state(self._folder, self._config.model_dump_json())
        trainer = self._build_trainer(build_model(self._config.model))
        trainer.restore(state.trainer)
        self._progress = Progress(state.iteration, state.miou, state.best, state.best_iteration)
        return trainer

    def _build_trainer(self, network: Network) -> Trainer:
        config = self._config
        teacher = None
        if config.teacher is None and not config.loss.weight:
            raise ConfigurationError(
                "loss.weight 0: without a teacher there is nothing to learn; give --teacher or a weight above 0"
            )
        if config.teacher is not None:
            teacher = self._weights.load_teacher(config.teacher, self._metadata)
        return Trainer(
            network,
            config,
            self._processes,
            steps=config.epochs * self._steps_per_epoch,
            teacher=teacher,
            class_weights=class_weights(self._data.summary.pixels) if config.loss.kind == WEIGHTED else None,
        )

    def _steps(self, epoch: int, skipped: int) -> Iterator[list[Batch]]:
        """Yield the batches of each step in an epoch, except the first `skipped` steps."""
        config, batch_size = self._config, self._process_batch_size
        self._draws.set_epoch(epoch)
        self._draws.skip(skipped * batch_size * config.accumulation)
        on_gpu = self._processes.device.type == "cuda"
        sampler: BatchSampler = BatchSampler(self._draws, batch_size, drop_last=True)  # type: ignore[arg-type]  # It samples draws, not indices.
        batches = iter(DataLoader(self._crops, batch_sampler=sampler, num_workers=config.workers, pin_memory=on_gpu))
        for _ in range(skipped, self._steps_per_epoch):
            yield [next(batches) for _ in range(config.accumulation)]

    def _take_step(self, batches: list[Batch], epoch: int, log: RunLog | None, bar: "tqdm[Any]") -> None:
        progress, processes = self._progress, self._processes
        start = time.perf_counter()
        # Random numbers in a step depend only on its number, so a resumed run repeats them.
        seed = (self._config.seed * 1_000_003 + progress.iteration) * processes.count + processes.rank
        step = self._trainer.step(batches, seed)
        progress.iteration += 1
        # With float16, the scaler skips such a step and continues with a smaller scale.
        if not math.isfinite(step.loss) and self._config.precision != "float16":
            raise Diverged(
                f"the loss of iteration {progress.iteration} is {step.loss} at the learning rates {step.learning_rates}; "
                f"lower them or set optimizer.clip_norm. The last state, {self._folder / STATE_FILE}, is older"
            )
        if log is not None:
            seconds = time.perf_counter() - start
            log.step(StepRow(progress.iteration, epoch, step.loss, step.parts, step.learning_rates, seconds))
        rate = step.learning_rates["head"]
        bar.set_postfix(epoch=epoch, loss=f"{step.loss:.3f}", rate=f"{rate:.2g}", mIoU=f"{progress.miou:.3f}", refresh=False)
        bar.update()

    def _evaluate(self, log: RunLog | None) -> None:
        """Score the network on the validation data, shared among the processes, and save it if it is the best."""
        config, progress, processes = self._config, self._progress, self._processes
        # Each process has batch statistics from its own images; the first process's are saved.
        processes.share_buffers(self._trainer.network)
        processes.share_buffers(self._trainer.evaluation_network)
        pipeline = self._pipeline(Checkpoint(self._trainer.evaluation_network, self._metadata))
        scores = self._score(pipeline)
        progress.miou = scores.miou
        selection = self._selection_score(scores)
        if log is None:
            return
        iteration, epoch = progress.iteration, progress.iteration // self._steps_per_epoch
        boundary = scores.mean_boundary_iou
        row = EvaluationRow(
            iteration,
            epoch,
            scores.miou,
            scores.pixel_accuracy,
            float("nan") if boundary is None else boundary,
            dict(zip(self._metadata.classes, scores.iou.tolist(), strict=True)),
        )
        log.evaluation(row)
        figures = f"mIoU {row.miou:.4f}, pixel accuracy {row.pixel_accuracy:.4f}, boundary IoU {row.boundary:.4f}"
        if scores.only_background:
            figures = "no scores, because the validation masks hold only background"
        tqdm.write(f"epoch {epoch} of {config.epochs}: {figures}")
        self._draw_sample_sheet(pipeline, epoch)
        if iteration:
            draw_curves(self._folder, self._folder / "curves.png")
        # If no evaluation has a score, the last network is kept.
        if iteration and (progress.best is None or not selection <= progress.best):
            progress.best, progress.best_iteration = selection, iteration
            self._save_checkpoint(scores)

    def _score(self, pipeline: Pipeline) -> Scores:
        data, classes = self._data.validation, len(self._metadata.classes)
        total = Scores.zero(classes, boundary=True, background=pipeline.labels.background)
        for sample in data.samples[self._processes.rank :: self._processes.count]:
            image, mask = data.read(sample)
            total += compare(pipeline.segment(image).label_map, mask, classes, boundary=True)
        partial_scores: list[Scores] = self._processes.gather(total)
        return reduce(add, partial_scores)

    def _selection_score(self, scores: Scores) -> float:
        """Return the mean IoU over the classes in at least `least_images` validation images, or NaN if there are none."""
        if scores.only_background:
            return scores.miou
        frequent = np.array(self._data.validation_images) >= self._config.validation.least_images
        class_ious = scores.iou[frequent & ~np.isnan(scores.iou)]
        return float(class_ious.mean()) if class_ious.size else scores.miou

    def _save_checkpoint(self, scores: Scores) -> None:
        data = self._data.validation
        evaluations: tuple[Evaluation, ...] = ()
        if not math.isnan(scores.miou):
            name = f"{len(data)} validation images of {data.name}"
            evaluations = (scores.evaluation(name, "single scale; chosen by it"),)
        metadata = self._metadata.model_copy(update={"evaluations": evaluations})
        save_checkpoint(self._checkpoint, self._trainer.evaluation_network, metadata, half=self._config.half)

    def _calibrate(self) -> None:
        """Fit the best network's temperature to the validation data, in the first process, after training."""
        data, background = self._data.validation, Labels.from_metadata(self._metadata).background
        if not {index for index, images in enumerate(self._data.validation_images) if images} - {background}:
            tqdm.write("not calibrated: the validation masks hold only background")
            return
        checkpoint = load_checkpoint(self._checkpoint)
        pipeline = self._pipeline(checkpoint)
        name = f"{data.name} (validation)"
        result = calibrate_pipeline(pipeline, data, name)
        replace_metadata(self._checkpoint, checkpoint.metadata.model_copy(update={"calibration": result.calibration}))
        draw_reliability(self._folder / "reliability.png", result.curves, f"{self._checkpoint.stem} on {name}")
        tqdm.write(f"calibrated: {result}")

    def _pipeline(self, checkpoint: Checkpoint) -> Pipeline:
        engine = TorchEngine(checkpoint, EngineOptions(gpu_id=self._processes.device.index))
        return Pipeline(engine, self._metadata, ModelIdentity("training", ""), Limits())

    def _draw_sample_sheet(self, pipeline: Pipeline, epoch: int) -> None:
        data = self._data.validation
        samples = data.samples[:: max(1, len(data) // _SHEET_ROWS)][:_SHEET_ROWS]
        images, truths = zip(*(data.read(sample) for sample in samples), strict=True)
        predictions = [pipeline.segment(image).label_map for image in images]
        draw_samples(images, truths, predictions, pipeline.labels, self._folder / "samples" / f"epoch_{epoch:03d}.png")

    def _save_state(self) -> None:
        if self._processes.is_first:
            progress = self._progress
            write_state(
                self._folder,
                RunState(
                    progress.iteration,
                    progress.miou,
                    progress.best,
                    progress.best_iteration,
                    self._config.model_dump_json(),
                    self._trainer.state(),
                ),
            )
        self._processes.wait()


def describe(config: TrainingConfig, data: TrainingData) -> CheckpointMetadata:
    """Return the checkpoint's metadata, without scores."""
    backbone = None if config.backbone_weights is None else Path(config.backbone_weights)
    sources = {"started from": config.start, "backbone started from": backbone, "taught by": config.teacher}
    origins = [f"{role} {path.name}" for role, path in sources.items() if path is not None]
    return CheckpointMetadata(
        model=config.model,
        classes=data.classes,
        palette=config.palette or voc_palette(config.model.num_classes),
        normalization=config.normalization,
        resize=config.resize,
        provenance=config.provenance
        or "; ".join([f"trained on {len(data.training)} images of {data.training.name} by scripts.train", *origins]),
        license=config.license,
    )
