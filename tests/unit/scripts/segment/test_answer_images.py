import numpy as np
import pytest
from PIL import Image

from handler.answers import FORMATS
from handler.geometry import RGBImage
from handler.labels import Labels
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, ModelIdentity
from scripts.segment.answer_images import image_reader
from tests.support import encode

LABELS = Labels(("background", "cat", "dog"), ((0, 0, 0), (128, 0, 0), (0, 128, 0)))
#: 2×3 pixels, of three classes.
LABEL_MAP = np.array([[0, 1, 1], [2, 2, 1]], np.uint8)
COLOURS = np.array(LABELS.palette, np.uint8)[LABEL_MAP]


def rendered(format_name: str, options: AnswerOptions | None = None) -> RGBImage:
    """Return the picture that is shown of an answer in this format."""
    image = np.zeros((2, 3, 3), np.uint8)
    probabilities = np.full((3, 2, 3), 1 / 3, np.float32)
    result = Segmentation(image, LABEL_MAP, probabilities, LABELS)
    answer = FORMATS[format_name].encode(result, ModelIdentity("m", "1"), options or AnswerOptions(format=format_name))
    read_image = image_reader(format_name)
    assert read_image is not None
    picture = read_image(answer.body)
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize("format_name", ["png", "index", "json", "npz"])
def test_classes_are_shown_in_their_colours(format_name: str) -> None:
    np.testing.assert_array_equal(rendered(format_name), COLOURS)


def test_masks_that_are_pngs_are_shown_too() -> None:
    np.testing.assert_array_equal(rendered("json", AnswerOptions(masks="png")), COLOURS)


@pytest.mark.parametrize("masks", ["none", "polygons"])
def test_json_without_masks_of_pixels_is_not_shown(masks: str) -> None:
    with pytest.raises(ValueError, match="its masks are neither run lengths nor PNGs"):
        rendered("json", AnswerOptions.model_validate({"masks": masks}))


@pytest.mark.parametrize("format_name", ["overlay", "confidence"])
def test_pictures_are_shown_unchanged(format_name: str) -> None:
    assert rendered(format_name).shape == (2, 3, 3)


def test_indices_of_16_bits_are_shown() -> None:
    read_image = image_reader("index")
    assert read_image is not None

    picture = read_image(encode(Image.fromarray(np.array([[1, 257]], np.uint16))))

    assert np.asarray(picture).tolist() == [[[128, 0, 0], [128, 0, 0]]]
