"""What a model says of itself: what it knows, how it is run, and what may be asked of it."""

from pathlib import Path
from typing import Any

from handler.answers import FORMATS
from handler.digest import content_digest
from handler.image.decode import ACCEPTED_FORMATS
from handler.network.engines.archive import archived_agreement
from handler.options import ModelIdentity
from handler.pipeline import Pipeline
from handler.request.option_table import Option
from handler.settings import HandlerSettings


def describe(
    pipeline: Pipeline, options: dict[str, Option], settings: HandlerSettings, model: ModelIdentity, archive: Path
) -> dict[str, Any]:
    """As JSON holds it. `archive` is the folder that the archive was extracted to; it is read in full for the digest."""
    metadata, labels, agreement = pipeline.metadata, pipeline.labels, archived_agreement(archive)
    return {
        "model": model.name,
        "version": model.version,
        "classes": labels.names,
        "palette": [labels.hex_colour(index) for index in range(len(labels.names))],
        "background": labels.background,
        "network": metadata.model.model_dump(mode="json"),
        "engine": pipeline.engine.name,
        "precision": pipeline.engine.precision,
        "agreement": agreement.model_dump(mode="json") if agreement else None,
        "quantization": metadata.quantization.model_dump(mode="json") if metadata.quantization else None,
        "explanations": pipeline.explains,
        "resize": metadata.resize.model_dump(mode="json"),
        "normalization": metadata.normalization.model_dump(mode="json"),
        "image_formats": ACCEPTED_FORMATS,
        "formats": {name: {"content_type": each.content_type, "about": each.about} for name, each in FORMATS.items()},
        "options": {name: option.summary() for name, option in options.items()},
        "limits": settings.limits.model_dump(mode="json"),
        "metrics": [evaluation.model_dump(mode="json") for evaluation in metadata.evaluations],
        "provenance": metadata.provenance,
        "license": metadata.license,
        "archive": {"sha256": content_digest(archive)},
    }
