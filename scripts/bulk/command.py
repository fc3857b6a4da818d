"""Run the command: check everything in advance, then segment, then merge."""

import hashlib
import json
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handler.answers import FORMATS
from handler.archive import ModelArchive
from handler.digest import content_digest
from handler.labels import Labels
from handler.masks.refinement import import_crf
from handler.network.engines import ModelFiles
from handler.option_types import Text
from handler.options import AnswerOptions, InferenceOptions
from handler.request.parser import RequestParser
from scripts.bulk.destinations import Destination, make_destination
from scripts.bulk.errors import BulkError
from scripts.bulk.executors.base import Executor
from scripts.bulk.executors.model_source import open_model
from scripts.bulk.lists import ListColumns
from scripts.bulk.manifest import FOLDER, Conditions, FinishedImages, ManifestWriter
from scripts.bulk.merge import FORMAT as MERGED_FORMAT
from scripts.bulk.merge import merge_answers
from scripts.bulk.plan import Plan, answer_suffixes
from scripts.bulk.segment_images import ImageRun
from scripts.bulk.sources import find_sources
from scripts.bulk.summary import Tally
from scripts.bulk.work import SegmentImages
from scripts.errors import UsageError


def run_command(arguments: Namespace, options: Mapping[str, str], executor: Executor) -> Tally:
    """Segment the images that the command line names.

    Args:
        arguments: parsed arguments of `python -m scripts.bulk`.
        options: request options, as text by name.
        executor: runs the tasks.

    Raises:
        UserError, ConfigurationError, CheckpointError, SegmentationError: the archive, an option, a source or the destination
            cannot be used.
    """
    formats = arguments.format
    if arguments.merge and MERGED_FORMAT not in formats:
        formats = (*formats, MERGED_FORMAT)
    destination = make_destination(arguments.out)
    columns = ListColumns(arguments.list_column, arguments.name_column)
    with tempfile.TemporaryDirectory(prefix="deeplab-bulk-") as folder:
        archive, model = open_model(arguments, Path(folder))
        request_options = _parse_options(archive, formats, options)
        conditions = Conditions(content_digest(archive.folder), request_options.digest(arguments.keep_suffix))
        prepare = SegmentImages(model, request_options.inference, request_options.answer, formats, destination)
        with destination.locked():
            if arguments.overwrite:
                _remove_manifest(destination)
            finished = FinishedImages(destination, conditions, retry_failed=arguments.retry_failed)
            sources = find_sources(arguments.sources, str(destination), columns)
            plan = Plan(sources, answer_suffixes(formats), finished, arguments.keep_suffix)
            tally = ImageRun(plan, executor, prepare, ManifestWriter(destination, conditions)).run()
            if arguments.merge and not tally.end_reason:
                tally.end_reason = _merge(arguments.merge, destination, formats.index(MERGED_FORMAT))
    return tally


def _merge(kind: str, destination: Destination, position: int) -> str:
    """Write the data set and print its path; return an error message rather than raise, since the run's summary follows."""
    try:
        print(f"data set: {destination}/{merge_answers(kind, destination, position)}")
    except BulkError as error:
        return f"--merge {kind}: {error}"
    return ""


@dataclass(frozen=True)
class _RequestOptions:
    inference: InferenceOptions
    answer: AnswerOptions
    formats: tuple[str, ...]

    def digest(self, keep_suffix: bool) -> str:
        """Return a digest of everything that determines answers and their names, besides the model and the image."""
        answer = self.answer.model_dump(mode="json", exclude={"format", "image_name"})
        value = [self.inference.model_dump(mode="json"), answer, list(self.formats), keep_suffix]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _parse_options(archive: ModelArchive, formats: tuple[str, ...], options: Mapping[str, str]) -> _RequestOptions:
    """Parse the options as the server would, and refuse those that it would refuse for every image.

    Raises:
        InvalidOption: an option is unknown, or its value is not allowed.
        RefinementUnavailable: the package for `refine=crf` is not installed.
        UsageError: a format cannot hold the model's classes.
    """
    metadata = ModelFiles(archive.checkpoint, archive.settings.output_stride).metadata()
    parser = RequestParser(archive.settings, Labels.from_metadata(metadata))
    inference, answer = parser.fill_in(parser.parse_options({name: Text(value) for name, value in options.items()}))
    if inference.refine == "crf":
        import_crf()
    for name in formats:
        if len(metadata.classes) > FORMATS[name].max_classes:
            raise UsageError(
                f"--format {name}: holds at most {FORMATS[name].max_classes} classes, there are {len(metadata.classes)}; "
                "use index"
            )
    return _RequestOptions(inference, answer.model_copy(update={"format": formats[0]}), formats)


def _remove_manifest(destination: Destination) -> None:
    """Remove the manifest, so that all images count as new."""
    for name in destination.names(FOLDER):
        destination.remove(name)
