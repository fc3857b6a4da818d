"""JSON fields that several formats share."""

from typing import Any

from handler.labels import Labels
from handler.masks.segmentation import Segmentation
from handler.masks.segments import Segment, Segments
from handler.options import AnswerOptions, ModelIdentity


def header_fields(segments: Segments, model: ModelIdentity) -> dict[str, Any]:
    """Return the model's name and version and the image's size."""
    height, width = segments.size
    return {"model": model.name, "version": model.version, "image": {"width": width, "height": height}}


def segment_fields(segment: Segment, labels: Labels) -> dict[str, Any]:
    """Return the fields of a segment other than its shape."""
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
    """Return the segment's score, rounded as in all answers."""
    return round(segment.score, 4)


def list_categories(result: Segmentation, options: AnswerOptions) -> dict[int, str]:
    """Return the names of the reported classes by index, without background."""
    reported = range(len(result.labels.names)) if options.classes is None else options.classes
    return {index: result.labels.names[index] for index in reported if index != result.labels.background}
