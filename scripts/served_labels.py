"""Read a model's labels from a server's answers, which pass any proxy and respect all options, unlike the management port."""

from typing import Any

from PIL import Image

from scripts.client import RequestRefused

#: Answers in this format list all labels, whatever the image shows.
FORMAT = "cvat"


def blank_image() -> Image.Image:
    """Return a small image to send when only the labels matter."""
    return Image.new("RGB", (32, 32))


def read_labels(answer: Any) -> list[dict[str, Any]]:
    """Return the labels in an answer of format `FORMAT`, each with name, id, color and type.

    Raises:
        RequestRefused: the answer lists no labels, as with older archives.
    """
    labels = answer.get("labels") if isinstance(answer, dict) else None
    if not isinstance(labels, list):
        raise RequestRefused(
            f"answers of the format {FORMAT!r} have no labels: the model is from an older release; package it again"
        )
    return labels
