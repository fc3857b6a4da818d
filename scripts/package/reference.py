"""Record statistics of the images on which a model was accepted, so that servers can notice when others arrive."""

import zipfile
from pathlib import Path

from pydantic import TypeAdapter

from handler.archive import REFERENCE
from handler.drift import Reference, collect
from handler.errors import SegmentationError
from handler.observation import Observation
from handler.options import AnswerOptions, SegmentationRequest
from handler.pipeline import Pipeline
from model.strict import ConfigurationError
from scripts.image_files import find_images

#: With fewer images, chance hides all but the greatest differences.
ENOUGH_IMAGES = 100
#: The cheapest format.
_ANSWER = AnswerOptions(format="png")


def record_reference(pipeline: Pipeline, folder: Path) -> Reference:
    """Segment every image in `folder` and its subfolders as a server would, and return their statistics.

    Raises:
        ConfigurationError: `folder` holds no images, or one cannot be segmented.
    """
    observations = [_observe(pipeline, path) for path in find_images(folder)]
    return Reference(folder.resolve().name, collect(observations, len(pipeline.labels.names)))


def write_reference(reference: Reference, archive: Path) -> None:
    """Write `reference` into an unpacked archive."""
    path = archive / REFERENCE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(TypeAdapter(Reference).dump_json(reference, indent=2) + b"\n")


def _observe(pipeline: Pipeline, path: Path) -> Observation:
    try:
        answer = pipeline.answer(SegmentationRequest(path.read_bytes(), answer=_ANSWER))
    except (SegmentationError, OSError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if answer.observation is None:
        raise ConfigurationError(f"{path}: the answer has no observation")
    return answer.observation


def describe_reference(archive: Path) -> str:
    """Return a description of the reference in `archive`, as a sentence without a full stop."""
    with zipfile.ZipFile(archive) as file:
        reference = TypeAdapter(Reference).validate_json(file.read(REFERENCE.as_posix()))
    images = reference.distribution.images
    advice = f"; {ENOUGH_IMAGES} or more would show smaller differences" if images < ENOUGH_IMAGES else ""
    return f"servers compare what they get with {images:,} images of {reference.source}{advice}"
