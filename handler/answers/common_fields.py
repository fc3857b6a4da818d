"""What formats say in the same words: of which image and model they speak, and of each segment besides its shape."""

from typing import Any

from handler.labels import Labels
from handler.masks.segments import Segment, Segments
from handler.options import ModelIdentity


def header_fields(segments: Segments, model: ModelIdentity) -> dict[str, Any]:
    """Which model says this of an image of which size."""
    height, width = segments.size
    return {"model": model.name, "version": model.version, "image": {"width": width, "height": height}}


def segment_fields(segment: Segment, labels: Labels) -> dict[str, Any]:
    """What is said of a segment besides its shape."""
    return {
        "index": segment.class_index,
        "label": segment.label,
        "color": labels.hex_colour(segment.class_index),
        "pixels": segment.pixels,
        "fraction": round(segment.fraction, 6),
        "bbox": segment.bbox,
        "score": round_score(segment),
    }


def round_score(segment: Segment) -> float:
    """`segment.score` as answers give it."""
    return round(segment.score, 4)
