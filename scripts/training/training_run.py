"""A training run: from data to a servable checkpoint, in a folder that people can watch and that it can resume from."""

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

from handler.limits import Limits
from handler.network.engines import EngineOptions
from handler.network.engines.torch_engine import TorchEngine
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from model import Checkpoint, CheckpointMetadata, Network, build_model, save_checkpoint
from model.atomic import write_atomically
from model.palette import voc_palette
from model.strict import ConfigurationError
from scripts.evaluate.metrics import Scores, compare
from scripts.training.augmentation import Augmentation, TrainingCrops
from scripts.training.config import TrainingConfig
from scripts.training.losses import WEIGHTED, class_weights
from scripts.training.processes import Processes
from scripts.training.run_state import NAME as STATE
from scripts.training.run_state import RunState, read_state, write_state
from scripts.training.sampling import Draws, balanced_weights
from scripts.training.trainer import Batch, Trainer
from scripts.training.training_data import Material
from scripts.training.watch.curves import draw_curves
from scripts.training.watch.run_log import EVALUATIONS, STEPS, EvaluationRow, RunLog, StepRow
from scripts.training.watch.sample_sheet import draw_samples
from scripts.training.weights import CheckpointWeights

#: Validation images in the picture that is drawn at each evaluation.
_PICTURED = 6


class Diverged(RuntimeError):
    """The loss is no number any more."""


@dataclass
class Progress:
    """How far a run has come."""

    iteration: int = 0
    #: Mean IoU of the last evaluation.
    miou: float = float("nan")
    #: The best selection score so far, and the iteration that reached it.
    best: float | None = None
    best_iteration: int | None = None


class Run:
    """One run in its folder.

    Args:
        folder: gets `state.pt` to resume from, `config.json`, logs, curves and pictures.
        checkpoint: the file for the best weights, with the metadata that makes them servable.
        resume: go on from the state in `folder`.

    Raises:
        ConfigurationError: parts of the configuration do not go together, or there is no state to resume from.
        CheckpointError: the weights to start from or the teacher cannot be used.
        FileExistsError: a new run's folder holds another's log.
    """

    def __init__(
        self,
        config: TrainingConfig,
        material: Material,
        processes: Processes,
        folder: Path,
        checkpoint: Path,
        *,
        weights: CheckpointWeights | None = None,
        resume: bool = False,
    ) -> None:
        self._config, self._material, self._processes = config, material, processes
        self._weights = weights or CheckpointWeights()
        self._folder, self._checkpoint, self._resume = folder, checkpoint, resume
        if not resume and (found := [name for name in (STATE, STEPS, EVALUATIONS) if (folder / name).exists()]):
            raise FileExistsError(f"{folder}: holds {found[0]} of another run; resume that run or choose another folder")
        self._metadata = describe(config, material)
        self._images_at_once = processes.batch_of_each(config.batch_size, config.accumulation)
        self._steps_per_epoch = len(material.training) // config.batch_size
        if not self._steps_per_epoch:
            raise ConfigurationError(
                f"batch_size {config.batch_size}: the training data have {len(material.training)} images; it must be less"
            )
        balance = config.class_balance
        present = [material.summary.present[sample.name] for sample in material.training.samples]
        self._draws = Draws(
            len(present),
            weights=balanced_weights(present, power=balance) if balance else None,
            seed=config.seed,
            rank=processes.rank,
            world_size=processes.count,
        )
        self._crops = TrainingCrops(material.training, Augmentation(config.augmentation, config.resize, config.normalization))
        self._progress = Progress()
        self._trainer = self._resumed() if resume else self._begun()

    def train(self) -> None:
        """Train to the last epoch; the best network is then in the checkpoint."""
        config, progress = self._config, self._progress
        last = config.epochs * self._steps_per_epoch
        # Before the first step nothing has been learned: what was logged until then is logged anew.
        resumed_at = (progress.iteration or -1) if self._resume else None
        log = RunLog(self._folder, resumed_at=resumed_at) if self._processes.first else None
        bar: tqdm[Any] = tqdm(total=last, initial=progress.iteration, desc="training", file=sys.stderr, disable=log is None)
        if progress.iteration == 0:
            self._save_state()
            self._evaluate(log)
        while progress.iteration < last:
            epoch, skipped = divmod(progress.iteration, self._steps_per_epoch)
            self._trainer.begin_epoch()
            for batches in self._steps(epoch, skipped):
                self._learn(batches, epoch + 1, log, bar)
                if progress.iteration % config.state_every == 0 and progress.iteration % self._steps_per_epoch:
                    self._save_state()
            self._evaluate(log)
            self._save_state()
        bar.close()
        if log is not None:
            log.close()
            tqdm.write(f"the best network, of iteration {progress.best_iteration}, is in {self._checkpoint}")
            tqdm.write(f"serve it: make serve CHECKPOINT={self._checkpoint}")

    def _begun(self) -> Trainer:
        torch.manual_seed(self._config.seed)
        network = build_model(self._config.model).to(self._processes.device)
        if self._config.start is not None:
            crops = (images for batches in self._steps(0, 0) for images, _ in batches[:1])
            self._weights.initialize(network, self._config.start, self._config, self._metadata, crops)
            self._processes.share_buffers(network)
        trainer = self._trainer_of(network)
        if self._processes.first:
            write_atomically(self._folder / "config.json", self._config.model_dump_json(indent=2).encode())
        return trainer

    def _resumed(self) -> Trainer:
        state = read_state(self._folder, self._config.model_dump_json())
        trainer = self._trainer_of(build_model(self._config.model))
        trainer.restore(state.trainer)
        self._progress = Progress(state.iteration, state.miou, state.best, state.best_iteration)
        return trainer

    def _trainer_of(self, network: Network) -> Trainer:
        config = self._config
        teacher = None
        if config.teacher is not None:
            teacher = self._weights.load_teacher(config.teacher, self._metadata)
        return Trainer(
            network,
            config,
            self._processes,
            steps=config.epochs * self._steps_per_epoch,
            teacher=teacher,
            class_weights=class_weights(self._material.summary.pixels) if config.loss.kind == WEIGHTED else None,
        )

    def _steps(self, epoch: int, skipped: int) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch, but for the first `skipped` steps."""
        config, at_once = self._config, self._images_at_once
        self._draws.set_epoch(epoch)
        self._draws.start_at(skipped * at_once * config.accumulation)
        on_gpu = self._processes.device.type == "cuda"
        sampler: BatchSampler = BatchSampler(self._draws, at_once, drop_last=True)  # type: ignore[arg-type]  # Of draws.
        batches = iter(DataLoader(self._crops, batch_sampler=sampler, num_workers=config.workers, pin_memory=on_gpu))
        for _ in range(skipped, self._steps_per_epoch):
            yield [next(batches) for _ in range(config.accumulation)]

    def _learn(self, batches: list[Batch], epoch: int, log: RunLog | None, bar: "tqdm[Any]") -> None:
        progress, processes = self._progress, self._processes
        began = time.perf_counter()
        # Whatever is random in a step follows from its number, so a resumed run repeats it.
        seed = (self._config.seed * 1_000_003 + progress.iteration) * processes.count + processes.rank
        step = self._trainer.step(batches, seed)
        progress.iteration += 1
        # With float16 the scaler leaves such a step out, and goes on with a smaller scale.
        if not math.isfinite(step.loss) and self._config.precision != "float16":
            raise Diverged(
                f"the loss of iteration {progress.iteration} is {step.loss}, at the rates {step.learning_rates}; lower them, "
                f"or set optimizer.clip_norm. The last state, {self._folder / STATE}, is from before"
            )
        if log is not None:
            seconds = time.perf_counter() - began
            log.step(StepRow(progress.iteration, epoch, step.loss, step.parts, step.learning_rates, seconds))
        rate = step.learning_rates["head"]
        bar.set_postfix(epoch=epoch, loss=f"{step.loss:.3f}", rate=f"{rate:.2g}", mIoU=f"{progress.miou:.3f}", refresh=False)
        bar.update()

    def _evaluate(self, log: RunLog | None) -> None:
        """Score the network on the validation data, each process its share of them, and keep it if it is the best."""
        config, progress, processes = self._config, self._progress, self._processes
        # Each process has measured statistics over its own images; the first one's are what is kept.
        processes.share_buffers(self._trainer.network)
        processes.share_buffers(self._trainer.evaluated)
        engine = TorchEngine(Checkpoint(self._trainer.evaluated, self._metadata), EngineOptions(gpu_id=processes.device.index))
        pipeline = Pipeline(engine, self._metadata, ModelIdentity("training", ""), Limits())
        scores = self._scored(pipeline)
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
        tqdm.write(f"epoch {epoch} of {config.epochs}: {figures}")
        self._picture(pipeline, epoch)
        if iteration:
            draw_curves(self._folder, self._folder / "curves.png")
        if iteration and (progress.best is None or selection > progress.best):
            progress.best, progress.best_iteration = selection, iteration
            self._keep(scores)

    def _scored(self, pipeline: Pipeline) -> Scores:
        data, classes = self._material.validation, len(self._metadata.classes)
        total = Scores.zero(classes, boundary=True)
        for sample in data.samples[self._processes.rank :: self._processes.count]:
            image, mask = data.read(sample)
            total += compare(pipeline.segment(image).label_map, mask, classes, boundary=True)
        shares: list[Scores] = self._processes.gather(total)
        return reduce(add, shares)

    def _selection_score(self, scores: Scores) -> float:
        """Mean IoU over the classes that are in enough validation images."""
        enough = np.array(self._material.validation_images) >= self._config.validation.least_images
        chosen = scores.iou[enough & ~np.isnan(scores.iou)]
        return float(chosen.mean()) if chosen.size else scores.miou

    def _keep(self, scores: Scores) -> None:
        data = self._material.validation
        evaluation = scores.evaluation(f"{len(data)} validation images of {data.root.name}", "single scale; chosen by it")
        metadata = self._metadata.model_copy(update={"evaluations": (evaluation,)})
        save_checkpoint(self._checkpoint, self._trainer.evaluated, metadata, half=self._config.half)

    def _picture(self, pipeline: Pipeline, epoch: int) -> None:
        data = self._material.validation
        samples = data.samples[:: max(1, len(data) // _PICTURED)][:_PICTURED]
        images, truths = zip(*(data.read(sample) for sample in samples), strict=True)
        predictions = [pipeline.segment(image).label_map for image in images]
        draw_samples(images, truths, predictions, pipeline.labels, self._folder / "samples" / f"epoch_{epoch:03d}.png")

    def _save_state(self) -> None:
        if self._processes.first:
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


def describe(config: TrainingConfig, material: Material) -> CheckpointMetadata:
    """What the checkpoint will say of itself, but for how it scored."""
    data = material.training
    sources = {"started from": config.start, "taught by": config.teacher}
    origins = [f"{role} {path.name}" for role, path in sources.items() if path is not None]
    return CheckpointMetadata(
        model=config.model,
        classes=material.classes,
        palette=voc_palette(config.model.num_classes),
        normalization=config.normalization,
        resize=config.resize,
        provenance=config.provenance
        or "; ".join([f"trained on {len(data)} images of {data.root.name} by scripts.train", *origins]),
        license=config.license,
    )
