import io
import json
import sys

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from handler.answers import EncodedResponse
from handler.errors import InferenceTooLarge, RefinementUnavailable
from handler.masks.refinement import CrfSettings, dense_crf
from handler.options import AnswerOptions, InferenceOptions, SegmentationRequest
from handler.settings import InferenceSettings
from tests.engines import HalvesEngine, build_pipeline, build_scheduler
from tests.support import encode

CRF = InferenceOptions(refine="crf")


@pytest.fixture
def two_colours() -> npt.NDArray[np.uint8]:
    """Return 64×64 pixels, red left of column 36 and blue from there on; the network sees the edge at column 32."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :36, 0] = image[:, 36:, 2] = 255
    return image


@pytest.fixture
def without_pydensecrf(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pydensecrf", "pydensecrf.densecrf"):
        monkeypatch.setitem(sys.modules, name, None)


class TestWithPydensecrf:
    @pytest.fixture(autouse=True)
    def _require_pydensecrf(self) -> None:
        pytest.importorskip("pydensecrf")

    def test_an_edge_of_a_segment_moves_to_the_edge_in_the_image(self, two_colours: npt.NDArray[np.uint8]) -> None:
        pipeline = build_pipeline(HalvesEngine())

        plain, refined = pipeline.segment(two_colours), pipeline.segment(two_colours, CRF)

        np.testing.assert_array_equal(plain.label_map[30], [0] * 32 + [1] * 32)
        np.testing.assert_array_equal(refined.label_map[30], [0] * 36 + [1] * 28)

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (20, 30)])
    def test_marginals_are_probabilities_at_the_images_size(self, size: tuple[int, int]) -> None:
        probabilities = np.random.default_rng(0).dirichlet([1] * 4, (3, 2)).transpose(2, 0, 1).astype(np.float32)

        marginals = dense_crf(np.zeros((*size, 3), np.uint8), probabilities, CrfSettings())

        assert marginals.shape == (4, *size)
        assert marginals.dtype == np.float32
        np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-5)

    def test_without_pairwise_weights_probabilities_are_only_interpolated(self) -> None:
        unary_only = CrfSettings(bilateral_weight=0, gaussian_weight=0)
        probabilities = np.array([[[0.9, 0.1]], [[0.1, 0.9]]], np.float32)

        marginals = dense_crf(np.zeros((1, 4, 3), np.uint8), probabilities, unary_only)

        np.testing.assert_allclose(marginals[0], [[0.9, 0.7, 0.3, 0.1]], atol=1e-5)

    def test_probabilities_of_0_and_1_are_accepted(self) -> None:
        certain = np.array([[[1, 0]], [[0, 1]]], np.float32)

        marginals = dense_crf(np.zeros((1, 2, 3), np.uint8), certain, CrfSettings())

        assert np.isfinite(marginals).all()

    @pytest.mark.parametrize(("scales", "tiles"), [((1.0,), 1), ((0.5,), 1), ((0.5, 2.0), 1), ((0.5, 1.0), 2)])
    def test_the_crf_runs_at_the_size_of_the_full_image_at_scale_1(
        self, two_colours: npt.NDArray[np.uint8], scales: tuple[float, ...], tiles: int
    ) -> None:
        options = InferenceOptions(scales=scales, flip=True, tiles=tiles, refine="crf")

        assert build_pipeline(HalvesEngine()).segment(two_colours, options).probabilities.shape == (3, 64, 64)

    def test_the_mask_has_the_size_of_the_image(self) -> None:
        assert build_pipeline(HalvesEngine()).segment(np.zeros((100, 333, 3), np.uint8), CRF).label_map.shape == (100, 333)

    def test_the_settings_decide_the_strength(self, two_colours: npt.NDArray[np.uint8]) -> None:
        weak = InferenceSettings(crf=CrfSettings(bilateral_weight=0, gaussian_weight=0))

        result = build_pipeline(HalvesEngine(), inference=weak).segment(two_colours, CRF)

        np.testing.assert_array_equal(result.label_map[30], [0] * 32 + [1] * 32)

    def test_json_and_png_report_the_seconds_of_refinement(self, two_colours: npt.NDArray[np.uint8]) -> None:
        image = encode(two_colours)
        seconds: dict[str, float] = {}
        requests = [SegmentationRequest(image, CRF, AnswerOptions(format=name)) for name in ("json", "png")]

        as_json, as_png = build_scheduler(HalvesEngine()).answer(requests, seconds.__setitem__)

        assert isinstance(as_json, EncodedResponse)
        assert isinstance(as_png, EncodedResponse)
        with Image.open(io.BytesIO(as_png.body)) as picture:
            reports = [json.loads(as_json.body)["refine"], json.loads(picture.info["refine"])]
        assert [report["method"] for report in reports] == ["crf", "crf"]
        assert reports[1]["seconds"] == round(seconds["refine"], 3)

    def test_refinement_is_a_separate_stage(self, two_colours: npt.NDArray[np.uint8]) -> None:
        stages: list[str] = []

        build_scheduler(HalvesEngine()).answer(
            [SegmentationRequest(encode(two_colours), inference=CRF)], lambda stage, _: stages.append(stage)
        )

        assert stages == ["decode", "prepare", "network", "average", "refine", "label", "encode"]

    def test_batching_changes_only_the_seconds(self, two_colours: npt.NDArray[np.uint8]) -> None:
        scheduler = build_scheduler(HalvesEngine())
        requests = [SegmentationRequest(encode(image), CRF) for image in (two_colours, two_colours[:, 8:])]

        batched = scheduler.answer(requests)
        single = [scheduler.answer([request])[0] for request in requests]

        assert [answer_without_refine(outcome) for outcome in batched] == [answer_without_refine(outcome) for outcome in single]

    def test_too_many_probabilities_are_refused_with_both_numbers_before_the_network_runs(
        self, two_colours: npt.NDArray[np.uint8]
    ) -> None:
        engine = HalvesEngine()

        (outcome,) = build_scheduler(engine, max_refined_values=12_287).answer(
            [SegmentationRequest(encode(two_colours), inference=CRF)]
        )

        assert isinstance(outcome, InferenceTooLarge)
        assert str(outcome) == ("option 'refine': 64×64 pixels × 3 classes are 12,288 probabilities, the limit is 12,287")
        assert engine.batches == []


@pytest.mark.usefixtures("without_pydensecrf")
def test_without_pydensecrf_the_error_names_the_package_before_the_network_runs(two_colours: npt.NDArray[np.uint8]) -> None:
    engine = HalvesEngine()

    (outcome,) = build_scheduler(engine).answer([SegmentationRequest(encode(two_colours), inference=CRF)])

    assert isinstance(outcome, RefinementUnavailable)
    assert outcome.status == 501
    assert "pip install pydensecrf2" in str(outcome)
    assert engine.batches == []


@pytest.mark.usefixtures("without_pydensecrf")
def test_without_pydensecrf_a_server_that_refines_by_default_does_not_start() -> None:
    with pytest.raises(RefinementUnavailable, match="pydensecrf2"):
        build_pipeline(HalvesEngine(), inference=InferenceSettings(refine="crf")).warm_up()


def test_an_unrefined_answer_has_no_refine_field(two_colours: npt.NDArray[np.uint8]) -> None:
    (outcome,) = build_scheduler(HalvesEngine()).answer([SegmentationRequest(encode(two_colours))])

    assert isinstance(outcome, EncodedResponse)
    assert "refine" not in json.loads(outcome.body)


def answer_without_refine(outcome: object) -> dict[str, object]:
    assert isinstance(outcome, EncodedResponse), outcome
    answer: dict[str, object] = json.loads(outcome.body)
    del answer["refine"]
    return answer
