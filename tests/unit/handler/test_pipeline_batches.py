"""Encoded images through the scheduler and the pipeline, alone and in batches, to encoded answers."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.answers import EncodedResponse
from handler.errors import (
    ExplanationUnavailable,
    ImageTooLarge,
    InferenceTooLarge,
    InternalError,
    InvalidImage,
    ResponseTooLarge,
    SegmentationError,
)
from handler.options import AnswerOptions, InferenceOptions, ModelIdentity, SegmentationRequest
from handler.pipeline import Pipeline
from handler.scheduler import Outcome, make_scheduler
from handler.settings import HandlerSettings
from tests.engines import (
    LanedEngine,
    MirrorEngine,
    WhiteFailsEngine,
    build_scheduler,
)
from tests.support import CHECKPOINT, encode, noise


@pytest.fixture
def engine() -> MirrorEngine:
    return MirrorEngine()


@pytest.fixture(params=[MirrorEngine, LanedEngine], ids=["in batches", "in lanes"])
def either_engine(request: pytest.FixtureRequest) -> MirrorEngine:
    """Return an engine that takes batches, then one that runs several images concurrently."""
    engine: MirrorEngine = request.param()
    return engine


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (300, 7), (65, 130)])
def test_the_mask_has_the_size_of_the_image(engine: MirrorEngine, size: tuple[int, int]) -> None:
    (outcome,) = build_scheduler(engine).answer([request(encode(noise(*size)))])

    assert mask_of(outcome).size == size[::-1]


def test_bad_requests_of_a_batch_do_not_affect_the_others(either_engine: MirrorEngine) -> None:
    good = encode(noise(64, 64))
    requests = [request(data) for data in (good, b"not an image", good, encode(noise(300, 400)), good)]

    outcomes = build_scheduler(either_engine, max_pixels=100_000).answer(requests)

    assert [type(outcome) for outcome in outcomes] == [
        EncodedResponse, InvalidImage, EncodedResponse, ImageTooLarge, EncodedResponse,
    ]  # fmt: skip


def test_a_batch_gives_the_same_answers_as_single_requests(either_engine: MirrorEngine) -> None:
    images = [encode(noise(*size)) for size in ((64, 64), (20, 64), (64, 64), (9, 5))]
    requests = [request(image, name) for image, name in zip(images, ("json", "png", "overlay", "json"), strict=True)]
    scheduler = build_scheduler(either_engine)

    outcomes = scheduler.answer(requests)
    expected = [scheduler.answer([single])[0] for single in requests]

    assert outcomes == expected
    assert all(isinstance(outcome, EncodedResponse) for outcome in outcomes)


def test_images_of_one_size_are_batched(engine: MirrorEngine) -> None:
    frequent, single = encode(noise(64, 64)), encode(noise(64, 32))

    build_scheduler(engine).answer([request(data) for data in (frequent, single, frequent, frequent, frequent, frequent)])

    assert sorted(engine.batches) == [1, 1, 4]


def test_an_error_of_the_engine_stays_in_its_batch_and_reveals_nothing(either_engine: MirrorEngine) -> None:
    black, good = encode(np.zeros((64, 64, 3), np.uint8)), encode(noise(64, 32))

    error, answer = build_scheduler(either_engine).answer([request(black), request(good)])

    assert isinstance(error, InternalError)
    assert "secret" not in str(error)
    assert isinstance(error.__cause__, RuntimeError)
    assert isinstance(answer, EncodedResponse)


def test_a_single_request_uses_the_full_engine_and_several_use_its_lanes() -> None:
    engine = LanedEngine()
    photo = request(encode(noise(64, 64)))
    scheduler = build_scheduler(engine)

    scheduler.answer([photo])
    assert (engine.batches, [lane.batches for lane in engine.lane_engines]) == ([1], [[], []])

    scheduler.answer([photo] * 5)
    assert engine.batches == [1]
    assert sum(sum(lane.batches) for lane in engine.lane_engines) == 5


def test_images_too_large_to_be_held_together_wait_for_each_other() -> None:
    photo = request(encode(noise(60, 60)))

    outcomes = build_scheduler(LanedEngine(), max_pixels=3600).answer([photo] * 6)

    assert all(isinstance(outcome, EncodedResponse) for outcome in outcomes)


def test_logits_that_are_not_finite_are_an_internal_error(either_engine: MirrorEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MirrorEngine, "infer", lambda _, pixels: np.full((len(pixels), 3, 4, 4), np.nan, np.float32))

    outcomes = build_scheduler(either_engine).answer([request(encode(noise(64, 64)))] * 2)

    assert [type(outcome) for outcome in outcomes] == [InternalError, InternalError]


def test_each_stage_is_observed(engine: MirrorEngine) -> None:
    stages: list[str] = []

    build_scheduler(engine).answer([request(encode(noise(64, 64)))], lambda stage, _: stages.append(stage))

    assert stages == ["decode", "prepare", "network", "label", "encode"]


def test_several_views_are_averaged_in_a_separate_stage(engine: MirrorEngine) -> None:
    stages: list[str] = []

    build_scheduler(engine).answer([request(encode(noise(64, 64)), flip=True)], lambda stage, _: stages.append(stage))

    assert stages == ["decode", "prepare", "network", "average", "label", "encode"]


@pytest.mark.parametrize("max_batch", [1, 4])
def test_a_batch_of_several_views_gives_the_same_answers_as_single_requests(max_batch: int) -> None:
    scheduler = build_scheduler(MirrorEngine(max_batch))
    requests = [
        request(encode(noise(64, 64)), "json", scales=(0.5, 1), flip=True),
        request(b"broken", "json", flip=True),
        request(encode(noise(64, 64)[:, ::-1].copy()), "png", scales=(1, 1.5)),
        request(encode(noise(32, 32)), "overlay", scales=(0.25, 0.5, 2)),
        request(encode(noise(64, 64)), "json"),
    ]

    outcomes = scheduler.answer(requests)

    assert outcomes[:1] + outcomes[2:] == [scheduler.answer([single])[0] for single in (*requests[:1], *requests[2:])]
    assert [type(outcome) for outcome in outcomes] == [EncodedResponse, InvalidImage, *[EncodedResponse] * 3]


def test_views_of_several_requests_are_batched(engine: MirrorEngine) -> None:
    image = encode(noise(64, 64))

    build_scheduler(engine).answer([request(image, scales=(0.5, 1), flip=True), request(image, flip=True)])

    assert sorted(engine.batches) == [2, 4]


def test_too_many_network_pixels_are_refused_before_the_network_runs(
    engine: MirrorEngine,
) -> None:
    image = encode(noise(300, 300))
    scheduler = build_scheduler(engine, max_network_pixels=10_239)

    refusal, answer = scheduler.answer([request(image, scales=(0.5, 1), flip=True), request(image)])

    assert isinstance(refusal, InferenceTooLarge)
    assert str(refusal) == (
        "at scales 0.5, 1.0, each mirrored too, the network would see 10,240 pixels of this image, the limit is 10,239"
    )
    assert isinstance(answer, EncodedResponse)
    assert engine.batches == [1]


def test_a_refusal_for_too_many_pixels_names_the_tiles(engine: MirrorEngine) -> None:
    (refusal,) = build_scheduler(engine, max_network_pixels=50_000).answer([request(encode(noise(300, 300)), tiles=4)])

    assert str(refusal) == (
        "in 4×4 tiles, at scale 1.0, the network would see 65,536 pixels of this image, the limit is 50,000"
    )


def test_no_requests_give_no_answers(engine: MirrorEngine) -> None:
    assert build_scheduler(engine).answer([]) == []


def test_json_carries_the_identity_of_the_model(engine: MirrorEngine) -> None:
    (outcome,) = build_scheduler(engine).answer([request(encode(noise(8, 8)), "json")])

    assert isinstance(outcome, EncodedResponse)
    assert json.loads(outcome.body)["model"] == "m"


def test_large_images_of_a_batch_are_processed_in_parts_and_in_order(engine: MirrorEngine) -> None:
    sizes = [(60, 100), (20, 30), (100, 90), (10, 10), (64, 64), (100, 100)]
    requests = [request(encode(noise(*size))) for size in sizes]
    requests[3] = request(b"broken")
    scheduler = build_scheduler(engine, max_pixels=10_000)
    expected = [scheduler.answer([single])[0] for single in requests]
    stages: list[str] = []

    outcomes = scheduler.answer(requests, lambda stage, _: stages.append(stage))

    decode_and_encode = [stage for stage in stages if stage in {"decode", "encode"}]
    # 6,600 pixels together, then 9,000, 4,096 and 10,000.
    assert decode_and_encode == ["decode"] * 2 + ["encode"] * 2 + ["decode", "encode"] * 3
    assert [type(outcome) for outcome in outcomes] == [EncodedResponse] * 3 + [InvalidImage] + [EncodedResponse] * 2
    assert outcomes[:3] + outcomes[4:] == expected[:3] + expected[4:]


def test_an_explanation_without_gradients_is_501_and_affects_no_other_request(engine: MirrorEngine) -> None:
    image = encode(noise(64, 64))

    refusal, answer = build_scheduler(engine).answer([SegmentationRequest(image, explain=True), request(image)])

    assert isinstance(refusal, ExplanationUnavailable)
    assert refusal.status == 501
    assert isinstance(answer, EncodedResponse)


@pytest.mark.slow
def test_explanations_in_a_batch_equal_single_ones(converted: Path) -> None:
    pipeline = Pipeline.load(converted / CHECKPOINT, HandlerSettings(), ModelIdentity("m", "1"), archive=converted)
    scheduler = make_scheduler(pipeline)
    image = encode(noise(64, 48))
    tinted = AnswerOptions(alpha=1)
    requests = [
        SegmentationRequest(image, explain=True),
        request(image),
        SegmentationRequest(image, explain=True, explain_class=2),
        SegmentationRequest(b"broken", explain=True),
        SegmentationRequest(image, answer=tinted, explain=True),
    ]

    outcomes = scheduler.answer(requests)

    assert [mask_of(outcome).mode for outcome in outcomes if isinstance(outcome, EncodedResponse)] == ["RGB", "P", "RGB", "RGB"]
    assert isinstance(outcomes[3], InvalidImage)
    assert mask_of(outcomes[2]).info["class"] == "dog"
    pipeline.release_memory()  # Includes the engine for explanations, which the next explanation builds again.
    expected = [scheduler.answer([single])[0] for single in requests]
    assert outcomes[:3] + outcomes[4:] == expected[:3] + expected[4:]


def test_an_image_that_breaks_the_engine_affects_no_other() -> None:
    white, good = encode(np.full((64, 64, 3), 255, np.uint8)), encode(noise(64, 64))

    first, error, last = build_scheduler(WhiteFailsEngine()).answer([request(good), request(white), request(good)])

    assert isinstance(error, InternalError)
    assert isinstance(first, EncodedResponse)
    assert first == last


def test_an_answer_above_the_share_of_its_image_is_refused_with_both_numbers(engine: MirrorEngine) -> None:
    large = request(encode(noise(100, 100)), "overlay")

    (single_error,) = build_scheduler(engine, max_response_bytes=4_000).answer([large])
    (shared_error,) = build_scheduler(engine, max_response_bytes=8_000).answer([replace(large, images_per_call=2)])

    assert isinstance(single_error, ResponseTooLarge)
    assert isinstance(shared_error, ResponseTooLarge)
    assert "the limit is 4,000" in str(single_error)
    assert str(shared_error) == f"{single_error}; the 2 images of a call share the limit evenly"


def request(image: bytes, name: str = "png", **inference: object) -> SegmentationRequest:
    return SegmentationRequest(image, InferenceOptions.model_validate(inference), AnswerOptions(format=name))


def mask_of(outcome: Outcome | SegmentationError) -> Image.Image:
    assert isinstance(outcome, EncodedResponse), outcome
    return Image.open(io.BytesIO(outcome.body))
