"""Label maps to export, and a check of the masks read back."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from handler.answers import FORMATS
from handler.labels import Labels
from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_objects
from handler.options import AnswerOptions, ModelIdentity
from model.palette import voc_palette

Mask = npt.NDArray[np.bool_]

MODEL = ModelIdentity("deeplabv3", "1.0")
#: Whole classes, and connected components.
OPTIONS = st.builds(AnswerOptions, components=st.booleans())

RING = [[1, 1, 1, 1], [1, 0, 2, 1], [1, 1, 1, 1], [0, 0, 0, 1]]


def segmentation(rows: Any, classes: int = 3, *, background: bool = True) -> Segmentation:
    """Build a segmentation of the given labels where every class has probability 0.5."""
    names = tuple(f"class {index}" for index in range(classes))
    labels = Labels(("background", *names[1:]) if background else names, voc_palette(classes))
    label_map = np.array(rows, labels.dtype)
    return Segmentation(np.zeros((*label_map.shape, 3), np.uint8), label_map, np.full((classes, 1, 1), 0.5, np.float32), labels)


@st.composite
def segmentations(draw: st.DrawFn) -> Segmentation:
    """Draw label maps of 1 to 40 pixels per side: noise to a single class, few classes or more than 8 bits hold."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    classes = draw(st.sampled_from([1, 2, 3, 6, 300]))
    block_size = draw(st.sampled_from([1, 1, 2, 5, 40]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = random.integers(0, classes, (-(-height // block_size), -(-width // block_size)))
    labels = blocks.repeat(block_size, axis=0).repeat(block_size, axis=1)[:height, :width]
    return segmentation(labels, classes, background=draw(st.booleans()))


def encode_as(name: str, result: Segmentation, options: AnswerOptions | None = None) -> bytes:
    """Encode `result` as format `name`."""
    return FORMATS[name].encode(result, MODEL, options or AnswerOptions()).body


def answer(name: str, result: Segmentation, options: AnswerOptions | None = None) -> Any:
    """Encode `result` as format `name` and parse the JSON."""
    return json.loads(encode_as(name, result, options))


def assert_masks(labelled_masks: list[tuple[str, Mask]], result: Segmentation, options: AnswerOptions | None = None) -> None:
    """Assert that `labelled_masks` are the segments of `result` in order, disjoint, and cover all but background."""
    segments = find_objects(result, options or AnswerOptions())
    assert [label for label, _ in labelled_masks] == [segment.label for segment in segments.items]
    for (_, mask), segment in zip(labelled_masks, segments.items, strict=True):
        np.testing.assert_array_equal(mask, segments.mask(segment))
    coverage = sum((mask.astype(int) for _, mask in labelled_masks), np.zeros(segments.size, int))
    background = result.labels.background
    np.testing.assert_array_equal(coverage, np.ones(segments.size) if background is None else result.label_map != background)
