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
    "model": {"backbone": "mobilenet_v2", "num_classes": 3, "output_stride": 16},
    "epochs": 1,
    "frozen_batch_norm": True,
}


class Constant(nn.Module):
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
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.randint(0, 3, (2, 64, 64))


def trainer(network: Network, teacher: nn.Module | None = None, **changes: Any) -> Trainer:
    config = TrainingConfig.model_validate(CONFIG | changes)
    built = Trainer(network, config, Processes(), steps=100, teacher=teacher)
    built.begin_epoch()
    return built


def test_the_learning_rate_rises_and_falls_as_in_the_paper() -> None:
    config = OptimizerConfig(warm_up=4)

    factors = [learning_rate_factor(done, 100, config) for done in (0, 4, 50, 99, 100)]

    assert factors == pytest.approx([1 / 5, 0.96**0.9, 0.5**0.9, 0.01**0.9, 0])


def test_backbone_and_head_learn_at_their_own_rates(network: Network, batch: Batch) -> None:
    step = trainer(network, optimizer={"backbone_learning_rate": 0.01, "head_learning_rate": 0.1}).step([batch], 0)

    assert step.learning_rates == pytest.approx({"backbone": 0.01, "head": 0.1})


def test_batches_gathered_over_several_passes_count_as_one(network: Network, batch: Batch) -> None:
    without_dropout(network)
    images, masks = batch
    parts, whole = copy.deepcopy(network), copy.deepcopy(network)

    trainer(parts).step([(images[:1], masks[:1]), (images[1:], masks[1:])], 0)
    trainer(whole).step([batch], 0)

    assert_learned_alike(parts, whole, network)


def test_two_processes_learn_what_one_does(network: Network, batch: Batch, tmp_path: Path) -> None:
    without_dropout(network)
    alone = copy.deepcopy(network)
    trainer(alone).step([batch], 0)

    # This process is the first of the two, because another would import for seconds.
    second = spawn(_learn_in_a_process, (1, network.state_dict(), batch, tmp_path), nprocs=1, join=False)
    _learn_in_a_process(0, 0, network.state_dict(), batch, tmp_path)
    while not second.join():
        pass

    for rank in range(2):
        shared = copy.deepcopy(network)
        shared.load_state_dict(torch.load(tmp_path / f"{rank}.pt", weights_only=True))
        assert_learned_alike(shared, alone, network)


def _learn_in_a_process(_: int, rank: int, state: dict[str, Tensor], batch: Batch, folder: Path) -> None:
    meeting, patience = f"file://{folder}/meeting", timedelta(minutes=5)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=patience)
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


def assert_learned_alike(first: Network, second: Network, before: Network) -> None:
    """Compare the last layer's bias, whose gradient is far from zero whatever the weights."""
    start = before.get_parameter("classifier.4.bias")
    steps = [network.get_parameter("classifier.4.bias") - start for network in (first, second)]
    assert steps[0].abs().max() > 1e-5
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-3, atol=1e-7)


def test_the_average_trails_behind_the_network(network: Network, batch: Batch) -> None:
    learner = trainer(network, ema_decay=0.75)
    learner.step([batch], 0)
    before = network.get_parameter("classifier.4.bias").detach().clone()
    learner.step([batch], 1)

    after = network.get_parameter("classifier.4.bias")
    average = learner.evaluation_network.get_parameter("classifier.4.bias")

    assert not torch.equal(after, before)
    torch.testing.assert_close(average, 0.75 * before + 0.25 * after)


def test_frozen_statistics_stay_and_others_move(network: Network, batch: Batch) -> None:
    before = copy.deepcopy(network.state_dict())

    trainer(network).step([batch], 0)
    assert torch.equal(network.state_dict()["backbone.0.1.running_mean"], before["backbone.0.1.running_mean"])

    trainer(network, frozen_batch_norm=False).step([batch], 0)
    assert not torch.equal(network.state_dict()["backbone.0.1.running_mean"], before["backbone.0.1.running_mean"])


def test_without_dropout_a_step_does_not_depend_on_its_seed(network: Network, batch: Batch) -> None:
    dropping, whole = (
        [trainer(copy.deepcopy(network), frozen_batch_norm=False, dropout=dropout).step([batch], seed).loss for seed in (3, 4)]
        for dropout in (True, False)
    )

    assert dropping[0] != dropping[1]
    assert whole[0] == whole[1]


def test_a_teacher_is_learned_from_by_its_weight(network: Network, batch: Batch) -> None:
    images, _ = batch
    unlabelled = images[..., :32, :32], torch.full((2, 32, 32), 255)
    learner = trainer(network, Constant(), distillation={"weight": 2.0}, optimizer={"head_learning_rate": 0.05})

    steps = [learner.step([unlabelled], number) for number in range(12)]

    assert steps[0].parts["labels"] == 0
    assert steps[-1].parts["teacher"] < 0.5 * steps[0].parts["teacher"]
    half = trainer(copy.deepcopy(network), Constant(), distillation={"weight": 1.0}).step([unlabelled], 99).parts["teacher"]
    whole = trainer(copy.deepcopy(network), Constant(), distillation={"weight": 2.0}).step([unlabelled], 99).parts["teacher"]
    assert whole == pytest.approx(2 * half)


def test_annotations_of_no_weight_teach_nothing(network: Network, batch: Batch) -> None:
    images, masks = batch
    annotated, blank = copy.deepcopy(network), copy.deepcopy(network)

    step = trainer(annotated, Constant(), loss={"weight": 0}).step([(images, masks)], 0)
    trainer(blank, Constant(), loss={"weight": 0}).step([(images, torch.zeros_like(masks))], 0)

    assert set(step.parts) == {"teacher"}
    assert_learned_alike(annotated, blank, network)


def test_a_teacher_sees_images_as_it_was_trained_to(network: Network) -> None:
    student, teachers = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), Normalization()
    pixels = torch.rand(1, 3, 32, 32)

    def normalized(by: Normalization) -> Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (by.mean, by.std))
        return (pixels - mean) / std

    teacher = Teacher(network.eval(), student, teachers)

    torch.testing.assert_close(teacher(normalized(student)), network(normalized(teachers))["out"], atol=1e-4, rtol=1e-3)


def test_random_numbers_of_a_step_follow_from_its_seed(network: Network, batch: Batch) -> None:
    learned = []
    for seed in (3, 3, 4):
        same = copy.deepcopy(network)
        trainer(same, frozen_batch_norm=False).step([batch], seed)
        learned.append(same.get_parameter("classifier.4.weight"))

    assert torch.equal(learned[0], learned[1])
    assert not torch.equal(learned[0], learned[2])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_step_is_taken_in_either_precision(network: Network, batch: Batch, precision: str) -> None:
    before = network.get_parameter("classifier.4.bias").detach().clone()
    # Many processors compute slowly in 16 bits.
    images, masks = (tensor[..., :32, :32] for tensor in batch)

    step = trainer(network, precision=precision).step([(images, masks)], 0)

    assert step.loss == pytest.approx(step.parts["labels"])
    assert not torch.equal(network.get_parameter("classifier.4.bias"), before)
    assert network.get_parameter("classifier.4.bias").dtype == torch.float32
