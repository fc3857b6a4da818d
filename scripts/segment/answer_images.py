"""Convert answers into viewable images."""

import base64
import io
import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco

from handler.answers import FORMATS
from model.palette import voc_palette

Reader = Callable[[bytes], Image.Image]


def image_reader(format_name: str) -> Reader | None:
    """Return a function that converts answers in this format to RGB images, or None if they contain no image.

    The function raises ValueError, OSError or KeyError for a faulty answer.
    """
    if format_name in _READERS:
        return _READERS[format_name]
    return _from_image if FORMATS[format_name].content_type.startswith("image/") else None


def _from_image(answer: bytes) -> Image.Image:
    with Image.open(io.BytesIO(answer)) as picture:
        return picture.convert("RGB")


def _from_index(answer: bytes) -> Image.Image:
    """Colour class indices as PASCAL VOC does; the answer has no colours."""
    with Image.open(io.BytesIO(answer)) as picture:
        return _colour(np.asarray(picture), np.array(voc_palette(256), np.uint8))


def _from_npz(answer: bytes) -> Image.Image:
    with np.load(io.BytesIO(answer)) as arrays:
        return _colour(arrays["label_map"], arrays["palette"])


def _from_json(answer: bytes) -> Image.Image:
    content = json.loads(answer)
    picture = Image.new("RGB", (content["image"]["width"], content["image"]["height"]))
    for segment in content["segments"]:
        mask = segment.get("mask", {})
        if "png" in mask:
            with Image.open(io.BytesIO(base64.b64decode(mask["png"]))) as stencil:
                picture.paste(segment["color"], mask=stencil.convert("L").point(lambda value: 255 if value else 0))
        elif "counts" in mask:
            picture.paste(segment["color"], mask=Image.fromarray(coco.decode(mask) * np.uint8(255)))
        else:
            raise ValueError("its masks are neither run lengths nor PNGs")
    return picture


def _colour(label_map: npt.NDArray[np.unsignedinteger], palette: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(palette[label_map.astype(np.int64) % len(palette)])


#: Readers for formats that are not images, or are images that show nothing by themselves.
_READERS: dict[str, Reader] = {"index": _from_index, "npz": _from_npz, "json": _from_json}
