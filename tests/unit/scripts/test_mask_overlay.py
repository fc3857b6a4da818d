import numpy as np
import pytest

from handler.geometry import RGBImage
from handler.labels import Labels
from scripts.datasets import VOID
from scripts.mask_overlay import VOID_COLOUR, tint

LABELS = Labels(("background", "cat"), ((0, 0, 0), (64, 0, 0)))
#: One pixel, with a grey of 100.
PHOTO: RGBImage = np.full((1, 1, 3), 100, np.uint8)


def tinted_pixel(index: int, labels: Labels = LABELS) -> list[int]:
    colour: list[int] = tint(PHOTO, np.full((1, 1), index, np.uint8), labels)[0, 0].tolist()
    return colour


def test_a_class_tints_the_grey_photograph() -> None:
    assert tinted_pixel(1) == pytest.approx([0.65 * 64 + 35, 35, 35], abs=1)


def test_background_is_the_grey_photograph() -> None:
    assert tinted_pixel(0) == [100, 100, 100]


def test_without_a_background_every_class_tints() -> None:
    assert tinted_pixel(0, Labels(("road", "cat"), ((0, 0, 0), (64, 0, 0)))) == [35, 35, 35]


def test_void_has_its_own_colour() -> None:
    assert tinted_pixel(VOID) == pytest.approx([0.65 * value + 35 for value in VOID_COLOUR], abs=1)
