"""Describe a model: its classes, how it runs, and the options of a request."""

from typing import Any

from handler.answers import FORMATS
from handler.archive import ModelArchive
from handler.digest import content_digest
from handler.image.decode import ACCEPTED_FORMATS
from handler.network.engines.archive import archived_agreement
from handler.pipeline import Pipeline
from handler.request.option_table import Option
from handler.request.protocols.kserve_v2 import tensor_metadata


def describe(pipeline: Pipeline, options: dict[str, Option], archive: ModelArchive) -> dict[str, Any]:
    """Return the description as JSON values. The digest reads every file of the archive."""
    metadata, labels, agreement = pipeline.metadata, pipeline.labels, archived_agreement(archive.folder)
    return {
        "model": archive.identity.name,
        "version": archive.identity.version,
        "classes": labels.names,
        "palette": [labels.hex_colour(index) for index in range(len(labels.names))],
        "background": labels.background,
        "network": metadata.model.model_dump(mode="json"),
        "engine": pipeline.engine.name,
        "precision": pipeline.engine.precision,
        "agreement": agreement.model_dump(mode="json") if agreement else None,
        "quantization": metadata.quantization.model_dump(mode="json") if metadata.quantization else None,
        "calibration": metadata.calibration.model_dump(mode="json") if metadata.calibration else None,
        "explanations": pipeline.can_explain,
        "resize": metadata.resize.model_dump(mode="json"),
        "normalization": metadata.normalization.model_dump(mode="json"),
        "image_formats": ACCEPTED_FORMATS,
        "formats": {name: {"content_type": entry.content_type, "about": entry.summary} for name, entry in FORMATS.items()},
        "tensors": tensor_metadata(labels),
        "options": {name: option.json_schema() for name, option in options.items()},
        "limits": archive.settings.limits.model_dump(mode="json"),
        "metrics": [evaluation.model_dump(mode="json") for evaluation in metadata.evaluations],
        "provenance": metadata.provenance,
        "license": metadata.license,
        "archive": {"sha256": content_digest(archive.folder)},
    }
