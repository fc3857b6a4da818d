"""Check a request's cost before anything is decoded, based on the image's size."""

import math

from handler.answers import FORMATS
from handler.answers.arrays import ARRAYS
from handler.errors import InferenceTooLarge, InvalidOption, ResponseTooLarge
from handler.geometry import Size, network_size
from handler.labels import Labels
from handler.limits import Limits
from handler.masks.refinement import import_crf
from handler.network.views import ViewPlan
from handler.options import ANSWER, InferenceOptions, SegmentationRequest
from model.metadata import CheckpointMetadata


def check_cost(request: SegmentationRequest, size: Size, plan: ViewPlan, metadata: CheckpointMetadata, limits: Limits) -> None:
    """Refuse a request that would take too much time or memory, or whose answer would have too many bytes.

    Args:
        request: the request.
        size: height and width of its upright image.
        plan: the views of the image that the network is to see.
        metadata: the model's metadata.
        limits: this request's share of the limits.

    Raises:
        InvalidOption: the format cannot hold the model's classes.
        InferenceTooLarge, ResponseTooLarge: the cost is above its limit; the message states both.
        RefinementUnavailable: the package for the refinement is not installed.
    """
    options = InferenceOptions() if request.explain else request.inference
    if plan.pixels > limits.max_network_pixels:
        raise InferenceTooLarge(
            f"{_describe_views(options)}, the network would see {plan.pixels:,} pixels of this image, "
            f"the limit is {limits.max_network_pixels:,}"
        )
    if options.refine != "none":
        _check_refinement(size, metadata, limits.max_refined_values)
    if not request.explain:
        _check_answer(request, size, metadata, limits.max_response_bytes)


def _check_refinement(size: Size, metadata: CheckpointMetadata, limit: int) -> None:
    import_crf()
    height, width = network_size(metadata.resize, size)
    classes = len(metadata.classes)
    values = height * width * classes
    if values > limit:
        raise InferenceTooLarge(
            f"option 'refine': {width}×{height} pixels × {classes} classes are {values:,} probabilities, the limit is {limit:,}"
        )


def _check_answer(request: SegmentationRequest, size: Size, metadata: CheckpointMetadata, limit: int) -> None:
    name = request.answer.format
    answer_format = FORMATS[name]
    labels = _reported_labels(request, metadata)
    classes = len(labels.names)
    if ANSWER in request.outputs and classes > answer_format.max_classes:
        raise InvalidOption(
            f"option 'format': {name!r} holds at most {answer_format.max_classes} classes, there are {classes}; use 'index'"
        )
    finest_size = network_size(metadata.resize, size, max(request.inference.scales))
    # Some networks have logits on a finer grid than their last features, but never on a coarser one.
    grid_cells = math.prod(math.ceil(side / metadata.model.output_stride) for side in finest_size)
    counts = math.prod(size), grid_cells * len(metadata.classes)
    min_bytes = answer_format.min_bytes(*counts) if ANSWER in request.outputs else 0
    min_bytes += sum(ARRAYS[output].byte_count(labels, *counts) for output in request.outputs if output != ANSWER)
    if min_bytes > limit:
        raise ResponseTooLarge(f"{describe_outputs(request)} would have at least {min_bytes:,} bytes, the limit is {limit:,}")


def describe_outputs(request: SegmentationRequest) -> str:
    """Name a request's outputs, for an error message."""
    names = [f"the answer as {request.answer.format!r}" if name == ANSWER else name for name in request.outputs]
    return " and ".join(names)


def _reported_labels(request: SegmentationRequest, metadata: CheckpointMetadata) -> Labels:
    """Return the answer's classes: the model's, plus background if the request turns some of them into background."""
    labels = Labels.from_metadata(metadata)
    return labels if request.answer.classes is None else labels.with_background()[0]


def _describe_views(options: InferenceOptions) -> str:
    tiles = f"in {options.tiles}×{options.tiles} tiles, " if options.tiles > 1 else ""
    scales = f"{'at scale' if len(options.scales) == 1 else 'at scales'} {', '.join(map(str, options.scales))}"
    return f"{tiles}{scales}{', each mirrored too' if options.flip else ''}"
