import io

import pytest
from PIL import Image

from benchmarks.serving.sized_photographs import camera_jpeg, sized_photographs
from handler.geometry import Size


@pytest.mark.parametrize("size", [(49, 64), (64, 49)])
def test_photographs_have_the_requested_size(size: Size) -> None:
    assert {image.shape for image in sized_photographs(size).values()} == {(*size, 3)}


def test_the_file_is_a_jpeg_of_the_requested_size() -> None:
    with Image.open(io.BytesIO(camera_jpeg((49, 64)))) as photo:
        assert (photo.format, photo.size) == ("JPEG", (64, 49))


def test_the_file_is_the_same_each_time() -> None:
    assert camera_jpeg((49, 64)) == camera_jpeg((49, 64))
