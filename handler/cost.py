"""What a request would cost, told from its image's size alone, and refused above the limits before anything of it runs."""

import math

from handler.answers import FORMATS
from handler.errors import InferenceTooLarge, InvalidOption, ResponseTooLarge
from handler.geometry import Size, network_size
from handler.labels import Labels
from handler.limits import Limits
from handler.masks.refinement import import_crf
from handler.network.views import network_pixels
from handler.options import InferenceOptions, SegmentationRequest
from model.metadata import CheckpointMetadata


def require_affordable(request: SegmentationRequest, size: Size, metadata: CheckpointMetadata, limits: Limits) -> None:
    """Refuse what would take too long, too much memory or too many bytes.

    Args:
        request: what is asked for.
        size: of its upright image, height and width.
        metadata: the model's.
        limits: of this request.

    Raises:
        InvalidOption: the format cannot hold the model's classes.
        InferenceTooLarge, ResponseTooLarge: with what it would cost, and the limit.
        RefinementUnavailable: a refinement is asked for whose package is not installed.
    """
    options = InferenceOptions() if request.explain else request.inference
    pixels, limit = network_pixels(size, metadata.resize, options), limits.max_network_pixels
    if pixels > limit:
        raise InferenceTooLarge(
            f"{_views_in_words(options)}, the network would see {pixels:,} pixels of this image, the limit is {limit:,}"
        )
    if options.refine != "none":
        _require_refinable(size, metadata, limits.max_refined_values)
    if not request.explain:
        _require_answerable(request, size, metadata, limits.max_response_bytes)


def _require_refinable(size: Size, metadata: CheckpointMetadata, limit: int) -> None:
    import_crf()
    height, width = network_size(metadata.resize, size)
    classes = len(metadata.classes)
    values = height * width * classes
    if values > limit:
        asked = f"option 'refine': {width}×{height} pixels of {classes} classes"
        raise InferenceTooLarge(f"{asked} are {values:,} probabilities, the limit is {limit:,}")


def _require_answerable(request: SegmentationRequest, size: Size, metadata: CheckpointMetadata, limit: int) -> None:
    entry = FORMATS[request.answer.format]
    classes = _reported(request, metadata)
    if classes > entry.max_classes:
        name = request.answer.format
        raise InvalidOption(f"option 'format': {name!r} holds {entry.max_classes} classes, there are {classes}; use 'index'")
    finest = network_size(metadata.resize, size, max(request.inference.scales))
    # Some networks answer on a finer grid than that of their last features, none on a coarser.
    grid = math.prod(math.ceil(side / metadata.model.output_stride) for side in finest)
    least = entry.min_bytes(math.prod(size), grid * len(metadata.classes))
    if least > limit:
        name = request.answer.format
        raise ResponseTooLarge(f"the answer as {name!r} would have at least {least:,} bytes, the limit is {limit:,}")


def _reported(request: SegmentationRequest, metadata: CheckpointMetadata) -> int:
    """Classes of the answer: the model's, and background where some become it and there was none."""
    labels = Labels.from_metadata(metadata)
    return len((labels if request.answer.classes is None else labels.with_background()[0]).names)


def _views_in_words(options: InferenceOptions) -> str:
    tiles = f"in {options.tiles}×{options.tiles} tiles, " if options.tiles > 1 else ""
    return f"{tiles}at scales {', '.join(map(str, options.scales))}{', each mirrored too' if options.flip else ''}"
