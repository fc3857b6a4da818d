import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from model import Network, Normalization, build_model
from scripts.training.config import OptimizerConfig, TrainingConfig
from scripts.training.processes import Processes
from scripts.training.trainer import Batch, Trainer, learning_rate_factor
from scripts.training.weights import Teacher

pytestmark = pytest.mark.slow

CONFIG: dict[str, Any] = {
    "model": {"backbone": "mobilenet_v2", "num_classes": 3, "output_stride": 16, "aspp_channels": 32},
    "epochs": 1,
    "frozen_batch_norm": True,
}


class ConstantTeacher(nn.Module):
    """A teacher that is certain of one class everywhere."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([0.0, 0.0, 9.0]).view(1, 3, 1, 1).expand(len(images), 3, 4, 4)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build_model(TrainingConfig.model_validate(CONFIG).model)


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(1)
    return torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8), torch.randint(0, 3, (2, 48, 48))


def trainer(network: Network, teacher: nn.Module | None = None, **changes: Any) -> Trainer:
    config = TrainingConfig.model_validate(CONFIG | changes)
    new_trainer = Trainer(network, config, Processes(), steps=100, teacher=teacher)
    new_trainer.begin_epoch()
    return new_trainer


def test_the_learning_rate_rises_and_falls_as_in_the_paper() -> None:
    config = OptimizerConfig(warm_up=4)

    factors = [learning_rate_factor(step, 100, config) for step in (0, 4, 50, 99, 100)]

    assert factors == pytest.approx([1 / 5, 0.96**0.9, 0.5**0.9, 0.01**0.9, 0])


def test_backbone_and_head_learn_at_their_own_rates(network: Network, batch: Batch) -> None:
    step = trainer(network, optimizer={"backbone_learning_rate": 0.01, "head_learning_rate": 0.1}).step([batch], 0)

    assert step.learning_rates == pytest.approx({"backbone": 0.01, "head": 0.1})


def test_accumulated_batches_equal_one_larger_batch(network: Network, batch: Batch) -> None:
    without_dropout(network)
    images, masks = batch
    accumulated, single_batch = copy.deepcopy(network), copy.deepcopy(network)

    trainer(accumulated).step([(images[:1], masks[:1]), (images[1:], masks[1:])], 0)
    trainer(single_batch).step([batch], 0)

    assert_same_update(accumulated, single_batch, network)


def test_two_processes_learn_the_same_as_one(network: Network, batch: Batch, tmp_path: Path) -> None:
    without_dropout(network)
    single_process = copy.deepcopy(network)
    trainer(single_process).step([batch], 0)

    # This process is the first of the two, because another would import for seconds.
    second = spawn(_train_in_process, (1, network.state_dict(), batch, tmp_path), nprocs=1, join=False)
    _train_in_process(0, 0, network.state_dict(), batch, tmp_path)
    while not second.join():
        pass

    for rank in range(2):
        distributed = copy.deepcopy(network)
        distributed.load_state_dict(torch.load(tmp_path / f"{rank}.pt", weights_only=True))
        assert_same_update(distributed, single_process, network)


def _train_in_process(_: int, rank: int, state: dict[str, Tensor], batch: Batch, folder: Path) -> None:
    store, timeout = f"file://{folder}/store", timedelta(minutes=5)
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timeout)
    images, masks = batch
    config = TrainingConfig.model_validate(CONFIG)
    network = build_model(config.model)
    network.load_state_dict(state)
    without_dropout(network)
    learner = Trainer(network, config, Processes(rank, 2), steps=100)
    learner.begin_epoch()
    learner.step([(images[rank : rank + 1], masks[rank : rank + 1])], 0)
    torch.save(network.state_dict(), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def without_dropout(network: Network) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0


def assert_same_update(first: Network, second: Network, before: Network) -> None:
    """Compare the last layer's bias, whose gradient is far from zero whatever the weights."""
    start = before.get_parameter("classifier.4.bias")
    steps = [network.get_parameter("classifier.4.bias") - start for network in (first, second)]
    assert steps[0].abs().max() > 1e-5
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-3, atol=1e-7)


def test_the_average_follows_the_network(network: Network, batch: Batch) -> None:
    learner = trainer(network, ema_decay=0.75)
    learner.step([batch], 0)
    before = network.get_parameter("classifier.4.bias").detach().clone()
    learner.step([batch], 1)

    after = network.get_parameter("classifier.4.bias")
    average = learner.evaluation_network.get_parameter("classifier.4.bias")

    assert not torch.equal(after, before)
    torch.testing.assert_close(average, 0.75 * before + 0.25 * after)


def test_only_statistics_that_are_not_frozen_change(network: Network, batch: Batch) -> None:
    before = copy.deepcopy(network.state_dict())

    trainer(network).step([batch], 0)
    assert torch.equal(network.state_dict()["backbone.0.1.running_mean"], before["backbone.0.1.running_mean"])

    trainer(network, frozen_batch_norm=False).step([batch], 0)
    assert not torch.equal(network.state_dict()["backbone.0.1.running_mean"], before["backbone.0.1.running_mean"])


def test_without_dropout_a_step_does_not_depend_on_its_seed(network: Network, batch: Batch) -> None:
    losses_with, losses_without = (
        [trainer(copy.deepcopy(network), frozen_batch_norm=False, dropout=dropout).step([batch], seed).loss for seed in (3, 4)]
        for dropout in (True, False)
    )

    assert losses_with[0] != losses_with[1]
    assert losses_without[0] == losses_without[1]


def test_distillation_converges_and_scales_with_its_weight(network: Network, batch: Batch) -> None:
    images, _ = batch
    unlabelled = images[..., :32, :32], torch.full((2, 32, 32), 255)
    learner = trainer(network, ConstantTeacher(), distillation={"weight": 2.0}, optimizer={"head_learning_rate": 0.05})

    steps = [learner.step([unlabelled], number) for number in range(12)]

    assert steps[0].parts["labels"] == 0
    assert steps[-1].parts["teacher"] < 0.5 * steps[0].parts["teacher"]
    learners = [trainer(copy.deepcopy(network), ConstantTeacher(), distillation={"weight": weight}) for weight in (1.0, 2.0)]
    single, double = (learner.step([unlabelled], 99).parts["teacher"] for learner in learners)
    assert double == pytest.approx(2 * single)


def test_annotations_with_a_weight_of_zero_are_ignored(network: Network, batch: Batch) -> None:
    images, masks = batch
    annotated, blank = copy.deepcopy(network), copy.deepcopy(network)

    step = trainer(annotated, ConstantTeacher(), loss={"weight": 0}).step([(images, masks)], 0)
    trainer(blank, ConstantTeacher(), loss={"weight": 0}).step([(images, torch.zeros_like(masks))], 0)

    assert set(step.parts) == {"teacher"}
    assert_same_update(annotated, blank, network)


def test_images_are_normalized_for_the_teacher(network: Network) -> None:
    student, teachers = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), Normalization()
    pixels = torch.rand(1, 3, 32, 32)

    def normalized(normalization: Normalization) -> Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (normalization.mean, normalization.std))
        return (pixels - mean) / std

    teacher = Teacher(network.eval(), student, teachers)

    torch.testing.assert_close(teacher(normalized(student)), network(normalized(teachers))["out"], atol=1e-4, rtol=1e-3)


def test_random_numbers_of_a_step_depend_only_on_its_seed(network: Network, batch: Batch) -> None:
    weights = []
    for seed in (3, 3, 4):
        copied = copy.deepcopy(network)
        trainer(copied, frozen_batch_norm=False).step([batch], seed)
        weights.append(copied.get_parameter("classifier.4.weight"))

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_step_is_possible_in_any_precision(network: Network, batch: Batch, precision: str) -> None:
    before = network.get_parameter("classifier.4.bias").detach().clone()
    # Many processors compute slowly in 16 bits.
    images, masks = (tensor[..., :32, :32] for tensor in batch)

    step = trainer(network, precision=precision).step([(images, masks)], 0)

    assert step.loss == pytest.approx(step.parts["labels"])
    assert not torch.equal(network.get_parameter("classifier.4.bias"), before)
    assert network.get_parameter("classifier.4.bias").dtype == torch.float32
