"""One image through the pipeline, from pixels to a label map."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.geometry import DecodedImage
from handler.masks.segmentation import segment_from_logits
from handler.network.tiling import resize_to_network
from handler.options import InferenceOptions, ModelIdentity
from handler.pipeline import Pipeline
from handler.settings import HandlerSettings, InferenceSettings
from model import read_metadata
from tests.engines import (
    FadingEngine,
    LastClassEngine,
    MirrorEngine,
    build_pipeline,
)
from tests.support import CLASSES, calibration, noise, write_checkpoint


@pytest.fixture
def engine() -> MirrorEngine:
    return MirrorEngine()


def test_the_label_map_has_the_classes_of_the_network(engine: MirrorEngine) -> None:
    image = noise(64, 48)

    result = build_pipeline(engine).segment(image)

    np.testing.assert_array_equal(result.label_map, image.argmax(2))
    assert result.labels.names == CLASSES


def test_at_one_scale_the_result_is_the_logits_bit_for_bit(engine: MirrorEngine) -> None:
    image = noise(50, 80)
    pipeline = build_pipeline(engine)
    decoded = DecodedImage.from_pixels(image)
    (logits,) = engine.infer(resize_to_network(decoded, pipeline.metadata.resize)[None])
    expected = segment_from_logits(decoded, logits, pipeline.labels)

    result = pipeline.segment(image)

    np.testing.assert_array_equal(result.label_map, expected.label_map)
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)
    assert result.refinement is None


@pytest.mark.parametrize("options", [InferenceOptions(), InferenceOptions(flip=True, scales=(0.5, 1))])
def test_a_calibration_changes_probabilities_but_no_label(options: InferenceOptions) -> None:
    image, plain, calibrated = noise(50, 80), build_pipeline(FadingEngine()), build_pipeline(FadingEngine())
    calibrated.metadata = calibrated.metadata.model_copy(update={"calibration": calibration(0.5)})

    before, after = (pipeline.segment(image, options) for pipeline in (plain, calibrated))

    np.testing.assert_array_equal(after.label_map, before.label_map)
    np.testing.assert_allclose(after.probabilities, before.probabilities**2 / (before.probabilities**2).sum(0), atol=1e-5)


@pytest.mark.parametrize("options", [InferenceOptions(), InferenceOptions(flip=True)])
def test_an_engine_may_make_the_label_map(options: InferenceOptions) -> None:
    pipeline = build_pipeline(LastClassEngine())

    result = pipeline.segment(noise(50, 80), options)

    np.testing.assert_array_equal(result.label_map, np.full((50, 80), 2))


@given(st.integers(1, 100), st.integers(1, 100), st.integers(0, 99))
def test_with_flip_a_mirrored_image_gives_the_mirrored_probabilities(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pipeline, flip = build_pipeline(FadingEngine()), InferenceOptions(scales=(0.5, 1), flip=True)

    result, mirrored = (pipeline.segment(picture, flip) for picture in (image, image[:, ::-1].copy()))

    # Pillow rounds resized pixels to integers, not always to the same one.
    np.testing.assert_allclose(mirrored.probabilities, result.probabilities[:, :, ::-1], atol=1e-2)


def test_without_flip_an_asymmetric_engine_gives_asymmetric_probabilities() -> None:
    image = np.full((64, 64, 3), (200, 100, 0), np.uint8)

    plain = build_pipeline(FadingEngine()).segment(image)

    assert (plain.probabilities != plain.probabilities[:, :, ::-1]).any()


@pytest.mark.parametrize(("output_stride", "grid"), [(None, (4, 3)), (16, (4, 3)), (8, (8, 6))])
def test_weights_of_output_stride_16_can_be_served_at_8(
    tmp_path: Path, output_stride: Literal[8, 16] | None, grid: tuple[int, int]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.safetensors")
    assert read_metadata(checkpoint).model.output_stride == 16

    # With torch, which needs no conversion.
    settings = HandlerSettings(engine="torch", output_stride=output_stride)
    pipeline = Pipeline.load(checkpoint, settings, ModelIdentity("m", "1"))

    assert pipeline.segment(noise(64, 48)).probabilities.shape == (3, *grid)
    assert pipeline.metadata.model.output_stride == (output_stride or 16)


def test_the_grid_of_the_answer_has_the_size_of_the_largest_scale(engine: MirrorEngine) -> None:
    result = build_pipeline(engine).segment(noise(64, 48), InferenceOptions(scales=(0.5, 1.5, 1)))

    assert result.probabilities.shape == (3, 96, 72)
    assert result.label_map.shape == (64, 48)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (7, 300)])
def test_an_image_with_fewer_pixels_than_tiles_can_be_tiled(engine: MirrorEngine, size: tuple[int, int]) -> None:
    assert build_pipeline(engine).segment(noise(*size), InferenceOptions(tiles=4)).label_map.shape == size


def test_tiles_resolve_details_that_one_view_loses(engine: MirrorEngine) -> None:
    stripes = np.zeros((224, 224, 3), np.uint8)
    stripes[0::4, :, 0] = stripes[1::4, :, 0] = stripes[2::4, :, 1] = stripes[3::4, :, 1] = 200

    untiled, tiled = (build_pipeline(engine).segment(stripes, InferenceOptions(tiles=tiles)).label_map for tiles in (1, 4))

    assert (untiled != stripes.argmax(2)).mean() > 0.25
    assert (tiled != stripes.argmax(2)).mean() < 0.05


def test_tiles_of_one_image_are_batched(engine: MirrorEngine) -> None:
    build_pipeline(engine).segment(noise(64, 48), InferenceOptions(tiles=3))

    assert engine.batches == [4, 4, 1]


def test_settings_are_the_defaults_of_requests(engine: MirrorEngine) -> None:
    image = noise(64, 48)
    pipeline = build_pipeline(engine, inference=InferenceSettings(scales=(0.5, 1), flip=True))

    by_default, by_request = pipeline.segment(image), pipeline.segment(image, InferenceOptions(scales=(0.5, 1), flip=True))

    np.testing.assert_array_equal(by_default.probabilities, by_request.probabilities)
    assert pipeline.segment(image, InferenceOptions()).probabilities.tobytes() != by_default.probabilities.tobytes()
