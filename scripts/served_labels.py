"""What a server can find, told by its own answers: they pass any proxy and heed any option, unlike the management port."""

from typing import Any

from PIL import Image

from scripts.client import RequestRefused

#: An answer of this format lists all labels, whatever is in the image.
FORMAT = "cvat"


def blank_image() -> Image.Image:
    """Return a small image to ask with."""
    return Image.new("RGB", (32, 32))


def read_labels(answer: Any) -> list[dict[str, Any]]:
    """Return the labels of an answer of the format `FORMAT`: name, id, color and type of each.

    Raises:
        RequestRefused: the answer has none, as those of older archives.
    """
    labels = answer.get("labels") if isinstance(answer, dict) else None
    if not isinstance(labels, list):
        raise RequestRefused(
            f"answers of the format {FORMAT!r} have no labels: the model is of an older release, package it again"
        )
    return labels
