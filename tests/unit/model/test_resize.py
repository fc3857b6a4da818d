import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.resize import resize_bilinear
from model.strict import ConfigurationError


@pytest.mark.parametrize(("cells", "pixels"), [(4, 16), (5, 17), (7, 13)])
def test_a_legacy_resize_begins_each_cell_at_its_first_pixel(cells: int, pixels: int) -> None:
    values = np.random.default_rng(0).normal(size=(cells, cells))

    resized = resize_bilinear(torch.from_numpy(values)[None, None], (pixels, pixels), "legacy")[0, 0].numpy()

    positions = np.arange(pixels) * cells / pixels
    rows = np.stack([np.interp(positions, np.arange(cells), column) for column in values.T], axis=1)
    expected = np.stack([np.interp(positions, np.arange(cells), row) for row in rows])
    np.testing.assert_allclose(resized, expected, atol=1e-6)


def test_align_corners_and_legacy_resize_are_mutually_exclusive() -> None:
    with pytest.raises(ConfigurationError, match="align_corners and legacy_resize: set one of them"):
        ModelConfig.parse({"align_corners": True, "legacy_resize": True}, source="here")
