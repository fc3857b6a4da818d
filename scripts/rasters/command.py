"""Segment rasters of any size with a model archive, georeferenced in and out: on this machine, or on a Ray cluster.

python -m scripts.rasters town.tif --archive build/model-store/deeplabv3.mar --out masks
python -m scripts.rasters county.vrt --archive MODEL.mar --out masks --format labels,confidence,gpkg --option tolerance=2
python -m scripts.rasters s3://bucket/scene.tif --archive MODEL.mar --out s3://bucket/masks --option bands=4,3,2
python -m scripts.bulk --raster town.tif …                                     the same program

The labels of FOLDER/a/town.tif are OUT/a/town.labels.tif, a Cloud Optimized GeoTIFF aligned exactly with the raster. The same
command continues after an interruption. docs/rasters.md describes the options.
"""

import math
import tempfile
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from handler.archive import ModelArchive
from handler.labels import Labels
from handler.option_types import Text
from handler.options import ReadingOptions
from handler.request.parser import RequestParser
from scripts.arguments import Parser, add_request_options, some_of, whole_number
from scripts.bulk.executors.engines import add_engine_options, add_model_options, make_executor
from scripts.bulk.executors.model_source import open_model
from scripts.errors import FAILURE, UsageError, print_error
from scripts.rasters.errors import RasterError
from scripts.rasters.layout import MIN_OVERLAP
from scripts.rasters.model_card import read_model_card
from scripts.rasters.outputs import make_outputs
from scripts.rasters.plan import MAX_WINDOW, MIN_WINDOW, WindowOptions
from scripts.rasters.reading import RasterOptions
from scripts.rasters.run import LABELS, SUFFIXES, RasterJob, RasterReport, is_output
from scripts.rasters.worker import PrepareBlocks
from scripts.segment.inputs import walk_files

#: Suffixes of rasters to look for in folders.
RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".vrt", ".jp2", ".img"})
#: Request options that also apply to rasters, and options that only rasters have.
_REQUEST_OPTIONS, _RASTER_OPTIONS = ("bands", "range", "scales", "flip", "tolerance"), ("nodata", "resolution")
_OPTIONS = (*_REQUEST_OPTIONS, *_RASTER_OPTIONS)


def run(argv: list[str], prog: str = "python -m scripts.rasters") -> int:
    """Run the program; return the exit code.

    Args:
        argv: command-line arguments, without the program's name.
        prog: how the user started the program, for messages.

    Raises:
        UserError, ConfigurationError, CheckpointError, SegmentationError: no raster can be segmented at all.
    """
    arguments = _parser(prog).parse_args(argv)
    executor = make_executor(arguments)
    outputs = make_outputs(arguments.out, arguments.work)
    jobs = list(_jobs(arguments.sources, outputs.folder))
    with tempfile.TemporaryDirectory(prefix="deeplab-rasters-") as folder:
        archive, model_source = open_model(arguments, Path(folder))
        model = read_model_card(archive)
        prepare = PrepareBlocks(model_source)
        template = _template(archive, model.labels, arguments)
        failed = 0
        for source, out in jobs:
            try:
                job = replace(template, source=source, out=out)
                report = outputs.segment(job, model, prepare, executor)
            except RasterError as error:
                failed += 1
                print_error(str(error))
            else:
                _print_report(source, report, map(outputs.location_of, report.outputs))
    return FAILURE if failed else 0


def _jobs(sources: Iterable[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each raster, and the path of its outputs without their suffixes.

    Raises:
        RasterError: a source is missing, or two have the same name.
    """
    names: dict[Path, str] = {}
    for location in sources:
        for source, name in find_rasters(location):
            out = folder / name
            if names.setdefault(out, source) != source:
                raise RasterError(f"{source}: its outputs would overwrite those of {names[out]}; give them different --out")
            yield source, out


def find_rasters(location: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield the rasters at a file, folder or URL, each with its path relative to the folder, without suffix.

    Hidden files and outputs of this program are skipped in folders.

    Raises:
        RasterError: the location is missing, cannot be read or holds no rasters.
    """
    if "://" in location or location.startswith("/vsi"):
        yield location, PurePosixPath(PurePosixPath(location.partition("?")[0]).stem)
        return
    path = Path(location)
    if not path.exists():
        raise RasterError(f"{location}: no such file or folder")
    if not path.is_dir():
        yield location, PurePosixPath(path.stem)
        return
    try:
        rasters = [file for file in walk_files(path, "") if file.suffix.lower() in RASTER_SUFFIXES and not is_output(file)]
    except OSError as error:
        raise RasterError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not rasters:
        raise RasterError(f"{location}: holds no rasters ({', '.join(sorted(RASTER_SUFFIXES))})")
    for file in rasters:
        yield str(file), PurePosixPath(file.relative_to(path).with_suffix(""))


def _template(archive: ModelArchive, labels: Labels, arguments: Namespace) -> RasterJob:
    """Return the job that is the same for all rasters, except for the names.

    Raises:
        UsageError: an option does not apply to rasters, or its value is not allowed.
        InvalidOption: the value of a request option is not allowed.
    """
    texts = dict(arguments.option)
    for name in texts:
        if name not in _OPTIONS:
            raise UsageError(f"--option {name}: is not an option of rasters; those are {', '.join(_OPTIONS)}")
    parser = RequestParser(archive.settings, labels)
    inference, answer = parser.fill_in(
        parser.parse_options({name: Text(value) for name, value in texts.items() if name in _REQUEST_OPTIONS})
    )
    reading = ReadingOptions(bands=inference.bands, range=inference.range)
    options = RasterOptions(reading, _nodata(texts.get("nodata", "file")), _resolution(texts.get("resolution")))
    window_options = WindowOptions(arguments.window, arguments.overlap)
    inference = inference.model_copy(update={"tiles": 1, "refine": "none"})
    return RasterJob("", Path(), arguments.format, options, window_options, inference, answer.tolerance)


def _nodata(text: str) -> float | str | None:
    word = text.strip().lower()
    if word in ("file", "none"):
        return "file" if word == "file" else None
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"--option nodata: {text!r} must be a number, nan, none or file") from None


def _resolution(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"--option resolution: {text!r} must be a number of ground units above 0")
    return value


def _print_report(source: str, report: RasterReport, locations: Iterable[str]) -> None:
    if report.done_before:
        print(f"{source}: done before")
        return
    total = sum(report.pixels.values())
    shares = sorted(((count / total, name) for name, count in report.pixels.items() if count), reverse=True) if total else []
    print(f"{source}: {', '.join(f'{name} {share:.1%}' for share, name in shares) or 'no data'}")
    for location in locations:
        print(f"  {location}")


def _parser(prog: str) -> Parser:
    parser = Parser(prog, __doc__)
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="rasters that GDAL reads, folders of them, or URLs (s3, gs, az, http)",
    )
    add_model_options(parser)
    parser.add_argument(
        "--out", required=True, metavar="DEST", help="folder for the outputs, or a URL such as s3://bucket/masks"
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="where outputs for a URL are made, and interrupted runs continue (~/.cache/deeplab-serve/rasters)",
    )
    parser.add_argument(
        "--format", type=some_of(SUFFIXES), default=(LABELS,), metavar="NAME,...", help=f"{', '.join(SUFFIXES)} ({LABELS})"
    )
    add_request_options(parser, f"one of {', '.join(_OPTIONS)}")
    parser.add_argument(
        "--window",
        type=whole_number(MIN_WINDOW, MAX_WINDOW),
        metavar="PIXELS",
        help="side of a window; by default the size at which the model sees images",
    )
    parser.add_argument(
        "--overlap", type=whole_number(MIN_OVERLAP), metavar="PIXELS", help="least overlap of windows (a quarter of a window)"
    )
    add_engine_options(parser)
    return parser
