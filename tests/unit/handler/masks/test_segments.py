import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from handler.answers import FORMATS
from handler.errors import ResponseTooLarge
from handler.geometry import DecodedImage
from handler.labels import Labels
from handler.masks import segments
from handler.masks.segmentation import Segmentation, segment_from_logits
from handler.masks.segments import Segment, find_objects, find_segments
from handler.options import AnswerOptions, ModelIdentity
from model.palette import voc_palette

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


def test_segments_are_sorted_by_size_with_background_last() -> None:
    result = segmentation_of([[0, 0, 0, 0], [2, 1, 2, 0]])

    assert [(segment.class_index, segment.pixels, segment.fraction) for segment in segments_of(result)] == [
        (2, 2, 0.25),
        (1, 1, 0.125),
        (0, 5, 0.625),
    ]


def test_the_score_is_the_mean_probability_over_the_segment() -> None:
    probabilities = np.zeros((3, 1, 4), np.float32)
    probabilities[1] = [0.5, 0.75, 0.0, 0.0]
    probabilities[0] = [0.5, 0.25, 1.0, 0.875]
    labels = np.array([[1, 1, 0, 0]], np.uint8)

    cat, background = segments_of(Segmentation(blank(1, 4), labels, probabilities, LABELS))

    assert cat.score == pytest.approx(0.625)
    assert background.score == pytest.approx(0.9375)


def test_scores_average_the_interpolated_probabilities() -> None:
    logits = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    result = segment_from_logits(DecodedImage.from_pixels(blank(33, 29)), logits, LABELS)
    probabilities = reference(result.probabilities, (33, 29))

    for segment in segments_of(result):
        mask = result.label_map == segment.class_index
        assert segment.score == pytest.approx(float(probabilities[segment.class_index][mask].mean()), abs=1e-5)


def test_segments_below_the_minimum_score_are_not_listed() -> None:
    probabilities = np.array([[[0.25, 0.25]], [[0.75, 0.0]], [[0.0, 0.5]]], np.float32)
    result = Segmentation(blank(1, 2), np.array([[1, 2]], np.uint8), probabilities, LABELS)

    assert [segment.label for segment in segments_of(result, min_score=0.5)] == ["cat", "dog"]
    assert [segment.label for segment in segments_of(result, min_score=0.51)] == ["cat"]


def test_with_components_each_connected_part_is_a_segment_and_background_is_one() -> None:
    result = segmentation_of([[1, 0, 1, 1], [0, 0, 1, 0], [1, 2, 2, 0]])

    parts = segments_of(result, components=True)

    assert [(segment.label, segment.pixels, segment.bbox) for segment in parts] == [
        ("cat", 3, (2, 0, 2, 2)),
        ("dog", 2, (1, 2, 2, 1)),
        ("cat", 1, (0, 0, 1, 1)),
        ("cat", 1, (0, 2, 1, 1)),
        ("background", 5, (0, 0, 4, 3)),
    ]


class CountingName(str):
    """A class name that counts its case-insensitive comparisons."""

    casefold_calls = 0

    def casefold(self) -> str:
        CountingName.casefold_calls += 1
        return super().casefold()


def test_background_is_looked_up_once_for_all_segments() -> None:
    names = tuple(map(CountingName, ("road", "sky")))
    labels = np.indices((20, 20)).sum(0).astype(np.uint8) % 2
    result = Segmentation(None, labels, np.full((2, 1, 1), 0.5, np.float32), Labels(names, voc_palette(2)))

    objects = find_objects(result, AnswerOptions(components=True))

    assert len(objects.items) == 400
    assert CountingName.casefold_calls == len(names)


def blank(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def segments_of(result: Segmentation, **options: object) -> tuple[Segment, ...]:
    return find_segments(result, AnswerOptions.model_validate(options)).items


def reference(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    values = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)[0]
    return values.numpy()


def segmentation_of(rows: list[list[int]]) -> Segmentation:
    labels = np.array(rows, np.uint8)
    return Segmentation(blank(*labels.shape), labels, np.full((3, *labels.shape), 1 / 3, np.float32), LABELS)


@pytest.mark.parametrize("options", [{"format": "huggingface"}, {"format": "json", "masks": "png"}])
def test_masks_with_too_many_pixels_are_refused_with_both_numbers(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setattr(segments, "MAX_MASK_PIXELS", 11)

    with pytest.raises(ResponseTooLarge, match=r"3 segments.* 12 pixels, the limit is 11;"):
        FORMATS[options["format"]].encode(
            segmentation_of([[0, 1], [2, 0]]), ModelIdentity("m", "1"), AnswerOptions.model_validate(options)
        )
