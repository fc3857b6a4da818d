import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from model.strict import ConfigurationError
from scripts.datasets import VOID
from scripts.training.losses import LOSSES, Loss, LossConfig, build_loss, class_weights, distillation_loss, total_loss

CLASSES = 3
WEIGHTS = torch.tensor([0.5, 1.0, 1.5])


def make_loss(kind: str, **changes: float) -> Loss:
    return build_loss(LossConfig.model_validate({"kind": kind} | changes), WEIGHTS)


def with_gradient(loss: Loss, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, masks)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def logits_of(probabilities: list[list[float]]) -> Tensor:
    """Convert rows of pixel probabilities to logits 1×C×1×pixels."""
    return torch.tensor(probabilities).log().T[None, :, None]


@pytest.mark.parametrize("kind", LOSSES)
@given(seed=st.integers(0, 2**32), void_share=st.floats(0, 1))
def test_void_pixels_are_ignored(kind: str, seed: int, void_share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, CLASSES, 4, 5, generator=generator)
    masks = torch.randint(CLASSES, (2, 4, 5), generator=generator)
    void = torch.rand(masks.shape, generator=generator) < void_share
    masks[void] = VOID
    changed_logits = torch.where(void[:, None], 20 * torch.randn(logits.shape, generator=generator), logits)

    value, gradient = with_gradient(make_loss(kind), logits, masks)
    changed_value, changed_gradient = with_gradient(make_loss(kind), changed_logits, masks)

    torch.testing.assert_close(changed_value, value)
    torch.testing.assert_close(changed_gradient, gradient)
    assert not gradient.movedim(1, -1)[void].any()


@pytest.mark.parametrize("kind", LOSSES)
def test_a_batch_of_void_has_no_loss_and_no_gradient(kind: str) -> None:
    value, gradient = with_gradient(make_loss(kind), torch.randn(2, CLASSES, 4, 5), torch.full((2, 4, 5), VOID))

    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("kind", LOSSES)
def test_a_step_down_the_gradient_lowers_the_loss(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, 4, 5, generator=generator)
    masks = torch.randint(CLASSES, (2, 4, 5), generator=generator)
    loss = make_loss(kind)

    value, gradient = with_gradient(loss, logits, masks)

    assert loss(logits - 0.1 * gradient, masks) < value


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["cross_entropy", "weighted_cross_entropy"])
def test_cross_entropy_equals_torchs_on_labelled_pixels(kind: str, smoothing: float) -> None:
    logits = torch.randn(2, CLASSES, 4, 5, generator=torch.Generator().manual_seed(0))
    masks = torch.tensor([0, 1, 2, 2, VOID]).expand(2, 4, 5)
    weights = WEIGHTS if kind == "weighted_cross_entropy" else None

    expected = F.cross_entropy(logits, masks, weights, ignore_index=VOID, label_smoothing=smoothing)

    torch.testing.assert_close(make_loss(kind, label_smoothing=smoothing)(logits, masks), expected)


def test_dice_is_the_mean_over_classes_that_occur() -> None:
    logits = logits_of([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])

    # Class 0: 2 * 0.5 / (0.75 + 1); class 1 the same; class 2 does not occur.
    assert make_loss("dice")(logits, torch.tensor([[[0, 1]]])) == pytest.approx(1 - 1 / 1.75)


def test_cross_entropy_dice_is_their_weighted_sum() -> None:
    logits, masks = torch.randn(1, CLASSES, 2, 2), torch.tensor([[[0, 1], [2, VOID]]])

    combined = make_loss("cross_entropy_dice", dice_weight=0.5)(logits, masks)

    torch.testing.assert_close(combined, make_loss("cross_entropy")(logits, masks) + 0.5 * make_loss("dice")(logits, masks))


def test_ohem_keeps_pixels_under_the_threshold() -> None:
    logits = logits_of([[0.5, 0.25, 0.25], [0.6, 0.2, 0.2], [0.8, 0.1, 0.1], [0.9, 0.05, 0.05]])

    value = make_loss("ohem", ohem_threshold=0.7, ohem_min_kept=0.25)(logits, torch.zeros(1, 1, 4, dtype=torch.int64))

    assert value == pytest.approx(-(math.log(0.5) + math.log(0.6)) / 2)


def test_ohem_keeps_the_hardest_pixels_if_all_are_easy() -> None:
    logits = logits_of([[0.95, 0.03, 0.02], [0.8, 0.1, 0.1], [0.9, 0.05, 0.05], [0.99, 0.005, 0.005]])
    masks = torch.tensor([[[0, 0, 0, VOID]]])

    # Half of three pixels, rounded up.
    value = make_loss("ohem", ohem_threshold=0.7, ohem_min_kept=0.5)(logits, masks)

    assert value == pytest.approx(-(math.log(0.8) + math.log(0.9)) / 2)


def test_class_weights_are_enets_with_a_mean_of_one() -> None:
    rare, common = 1 / math.log(1.02 + 0.1), 1 / math.log(1.02 + 0.9)
    mean = (rare + common) / 2

    assert class_weights([900, 100]).tolist() == pytest.approx([common / mean, rare / mean])


def test_a_class_that_never_occurs_is_weighted_like_the_mean() -> None:
    assert class_weights([5, 0, 5]).tolist() == [1, 1, 1]


def test_class_weights_without_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[0, 0\]"):
        class_weights([0, 0])


def test_the_weighted_loss_needs_weights() -> None:
    with pytest.raises(ConfigurationError, match="'weighted_cross_entropy': needs class weights"):
        build_loss(LossConfig(kind="weighted_cross_entropy"))


def test_an_unknown_loss_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"'kind': 'ohm': unknown loss, did you mean 'ohem'\?"):
        LossConfig.parse({"kind": "ohm"}, source="loss")


def test_label_smoothing_is_refused_for_losses_without_it() -> None:
    with pytest.raises(ConfigurationError, match=r"label_smoothing 0\.1: the loss 'ohem'"):
        LossConfig.parse({"kind": "ohem", "label_smoothing": 0.1}, source="loss")


def test_the_auxiliary_head_adds_its_weighted_loss() -> None:
    logits = {"out": torch.randn(1, CLASSES, 2, 2), "aux": torch.randn(1, CLASSES, 4, 4)}
    masks = torch.randint(CLASSES, (1, 8, 8))

    def at_full_size(name: str) -> Tensor:
        return F.cross_entropy(F.interpolate(logits[name], (8, 8), mode="bilinear", align_corners=False), masks)

    total = total_loss(logits, masks, make_loss("cross_entropy"), auxiliary_weight=0.4)

    torch.testing.assert_close(total, at_full_size("out") + 0.4 * at_full_size("aux"))


def test_a_network_without_an_auxiliary_head_has_only_the_outputs_loss() -> None:
    logits, masks = torch.randn(1, CLASSES, 4, 4), torch.randint(CLASSES, (1, 4, 4))

    total = total_loss({"out": logits}, masks, make_loss("cross_entropy"), auxiliary_weight=0.4)

    torch.testing.assert_close(total, F.cross_entropy(logits, masks))


def test_distillation_is_the_divergence_per_pixel() -> None:
    student, teacher = logits_of([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]), logits_of([[0.25, 0.5, 0.25], [0.2, 0.3, 0.5]])

    # The second pixel agrees.
    expected = (0.25 * math.log(0.25 / 0.5) + 0.5 * math.log(0.5 / 0.25)) / 2
    assert distillation_loss(student, teacher) == pytest.approx(expected)


def test_distillation_at_a_temperature_divides_the_logits_and_keeps_the_scale() -> None:
    student, teacher = torch.randn(1, CLASSES, 2, 2), torch.randn(1, CLASSES, 2, 2)

    hot = distillation_loss(student, teacher, temperature=2)

    torch.testing.assert_close(hot, 4 * distillation_loss(student / 2, teacher / 2))


def test_a_coarser_teacher_is_compared_with_cell_means_and_gets_no_gradient() -> None:
    student = torch.randn(1, CLASSES, 4, 4, requires_grad=True)
    teacher = torch.randn(1, CLASSES, 2, 2, requires_grad=True)

    value = distillation_loss(student, teacher)
    value.backward()

    torch.testing.assert_close(value, distillation_loss(F.avg_pool2d(student, 2), teacher))
    assert teacher.grad is None
