"""Limits on the cost of a request, checked before the network runs."""

from typing import Any

import pytest

from handler.cost import check_cost
from handler.errors import ImageTooLarge, InferenceTooLarge, InvalidOption, ResponseTooLarge, SegmentationError
from handler.geometry import Size
from handler.limits import Limits
from handler.network.views import ViewPlan
from handler.options import AnswerOptions, InferenceOptions, SegmentationRequest
from model import CheckpointMetadata, ModelConfig, ResizePolicy
from model.palette import voc_palette
from tests.engines import MirrorEngine, build_scheduler
from tests.support import encode, metadata, noise

SQUARE = metadata(resize=ResizePolicy(side="long", size=64))


def check(request: SegmentationRequest, size: Size, metadata: CheckpointMetadata, limits: Limits) -> None:
    options = InferenceOptions() if request.explain else request.inference
    check_cost(request, size, ViewPlan.for_image(size, metadata.resize, options), metadata, limits)


def make_request(name: str = "json", *, explain: bool = False, **inference: object) -> SegmentationRequest:
    return SegmentationRequest(b"", InferenceOptions.model_validate(inference), AnswerOptions(format=name), explain)


@pytest.mark.parametrize(
    ("inference", "pixels", "message"),
    [
        ({}, 64 * 64, "at scale 1.0"),
        ({"flip": True}, 2 * 64 * 64, "at scale 1.0, each mirrored too"),
        ({"tiles": 3}, 9 * 64 * 64, "in 3×3 tiles, at scale 1.0"),
        ({"scales": (0.5, 1.5)}, 32 * 32 + 96 * 96, "at scales 0.5, 1.5"),
        (
            {"tiles": 2, "flip": True, "scales": (0.5, 1)},
            8 * (32 * 32 + 64 * 64),
            "in 2×2 tiles, at scales 0.5, 1.0, each mirrored",
        ),
    ],
)
def test_too_many_network_pixels_are_refused_with_both_numbers(inference: dict[str, object], pixels: int, message: str) -> None:
    request = SegmentationRequest(b"", InferenceOptions.model_validate(inference))
    check(request, (500, 500), SQUARE, Limits(max_network_pixels=pixels))

    with pytest.raises(InferenceTooLarge) as error:
        check(request, (500, 500), SQUARE, Limits(max_network_pixels=pixels - 1))

    assert str(error.value).startswith(message)
    assert str(error.value).endswith(f", the network would see {pixels:,} pixels of this image, the limit is {pixels - 1:,}")


def test_an_explanation_costs_one_view_whatever_the_settings_say() -> None:
    check(make_request(explain=True, tiles=4), (500, 500), SQUARE, Limits(max_network_pixels=64 * 64))


@pytest.mark.parametrize(
    ("name", "min_bytes"), [("png", 1_000_000 // 1032), ("overlay", 1_000_000 // 64), ("npz", 4 * 4 * 3 * 2)]
)
def test_an_answer_that_is_certain_to_be_too_large_is_refused_with_both_numbers(name: str, min_bytes: int) -> None:
    limits = Limits.model_construct(**{**Limits().model_dump(), "max_response_bytes": min_bytes})
    check(make_request(name), (1000, 1000), SQUARE, limits)

    with pytest.raises(ResponseTooLarge) as error:
        check(make_request(name), (1000, 1000), SQUARE, limits.model_copy(update={"max_response_bytes": min_bytes - 1}))

    assert str(error.value) == f"the answer as {name!r} would have at least {min_bytes:,} bytes, the limit is {min_bytes - 1:,}"


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_network_pixels": 64 * 64 - 1}, InferenceTooLarge),
        ({"max_pixels": 9_999}, ImageTooLarge),
        ({"max_side": 99}, ImageTooLarge),
        ({"max_bytes": 100}, ImageTooLarge),
    ],
)
def test_refused_images_never_reach_the_network(limits: dict[str, Any], error: type[SegmentationError]) -> None:
    engine = MirrorEngine()

    (outcome,) = build_scheduler(engine, **limits).answer([SegmentationRequest(encode(noise(100, 100)))])

    assert type(outcome) is error
    assert engine.batches == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_network_pixels": 4 * 64 * 64 - 1}, "the network would see 4,096 pixels of this image, the limit is 4,095"),
        ({"max_pixels": 39_999}, "the image has 100×100 = 10,000 pixels, the limit is 9,999"),
    ],
)
def test_images_of_one_call_share_the_limits(limits: dict[str, Any], message: str) -> None:
    engine = MirrorEngine()
    image = encode(noise(100, 100))

    outcomes = build_scheduler(engine, **limits).answer([SegmentationRequest(image, images_per_call=count) for count in (1, 4)])

    assert not isinstance(outcomes[0], SegmentationError)
    assert str(outcomes[1]).endswith(f"{message}; the 4 images of a call share the limit evenly")
    assert engine.batches == [1]


@pytest.mark.parametrize(("classes", "requested"), [(257, None), (256, (1,))], ids=["too many", "with background, too many"])
def test_classes_that_a_palette_cannot_hold_are_refused_before_the_network_runs(
    classes: int, requested: tuple[int, ...] | None
) -> None:
    names = tuple(map(str, range(classes)))
    model_metadata = metadata(
        model=ModelConfig(backbone="mobilenet_v2", num_classes=classes), classes=names, palette=voc_palette(classes)
    )
    request = SegmentationRequest(b"", answer=AnswerOptions(format="png", classes=requested))

    with pytest.raises(InvalidOption, match=r"'png'.* 256 .* 257.*'index'"):
        check(request, (8, 8), model_metadata, Limits())
