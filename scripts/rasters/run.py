"""Segment one raster: plan → blocks in an executor's processes → label and confidence rasters, polygons."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.options import InferenceOptions
from handler.version import VERSION
from model.atomic import write_atomically
from scripts.bulk.executors.base import Executor
from scripts.bulk.run import Quarantined, run_tasks
from scripts.progress import progress
from scripts.rasters.blocks import void_index
from scripts.rasters.errors import RasterError
from scripts.rasters.joining import PieceIndex, join_pieces
from scripts.rasters.model_card import ModelCard
from scripts.rasters.mosaics import confidence_mosaic, discarding, label_mosaic, write_class_names
from scripts.rasters.parts import Parts
from scripts.rasters.pieces import Pieces
from scripts.rasters.plan import BlockTask, RasterPlan, WindowOptions, list_blocks, make_plan
from scripts.rasters.reading import RasterOptions, RasterReader
from scripts.rasters.vectors import WRITERS, Georeference, check_geojson
from scripts.rasters.worker import BlockFault

Prepare = Callable[[], Callable[[BlockTask], bytes | BlockFault]]

_DEFAULT_OPTIONS, _DEFAULT_WINDOWS = RasterOptions(), WindowOptions()
LABELS, CONFIDENCE = "labels", "confidence"
#: Suffixes of a raster's outputs, by format.
SUFFIXES = {
    LABELS: ".labels.tif",
    CONFIDENCE: ".confidence.tif",
    "gpkg": ".gpkg",
    "geojson": ".geojson",
    "geoparquet": ".parquet",
}
#: Suffix of a finished raster's record.
RECORD = ".json"
#: Suffix of an unfinished raster's folder of blocks.
PARTS = ".parts"


@dataclass(frozen=True)
class RasterJob:
    """A raster and its requested outputs."""

    #: A path, a URL or a name that GDAL can open.
    source: str
    #: Outputs are this path with the `SUFFIXES` of `formats`.
    out: Path
    formats: tuple[str, ...] = (LABELS,)
    options: RasterOptions = _DEFAULT_OPTIONS
    window_options: WindowOptions = _DEFAULT_WINDOWS
    #: None for the model's defaults.
    inference: InferenceOptions | None = None
    #: Polygons drop corners that cut off less than its square, in pixels.
    tolerance: float = 0.0


@dataclass(frozen=True)
class RasterReport:
    """The result of segmenting a raster."""

    outputs: tuple[Path, ...]
    #: Pixels of each class, by name, without void.
    pixels: dict[str, int]
    #: Blocks computed in this run, and blocks from an earlier run.
    computed: int
    reused: int
    #: Whether an earlier run had finished the whole raster.
    done_before: bool = False


@dataclass(frozen=True)
class _PlannedRaster:
    """A planned raster."""

    job: RasterJob
    model: ModelCard
    plan: RasterPlan
    georeference: Georeference
    #: rasterio's profile that aligns the outputs with the raster.
    profile: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """Everything that determines the blocks, as JSON."""
        inputs = {"version": VERSION, "model": self.model.digest, "state": _state(self.job.source), "plan": asdict(self.plan)}
        return json.dumps(inputs, default=lambda value: value.model_dump(), sort_keys=True)

    @property
    def digest(self) -> str:
        """Hash that distinguishes these outputs from those of another raster, model or option."""
        return hashlib.sha256(f"{self.description}{self.job.formats}".encode()).hexdigest()

    def path(self, output: str) -> Path:
        return self.job.out.with_name(f"{self.job.out.name}{SUFFIXES[output]}")

    def sibling(self, suffix: str) -> Path:
        return self.job.out.with_name(f"{self.job.out.name}{suffix}")


def segment_raster(
    job: RasterJob,
    model: ModelCard,
    prepare: Prepare,
    executor: Executor,
    *,
    visible: bool = True,
    exists: Callable[[Path], bool] = Path.is_file,
) -> RasterReport:
    """Segment a raster of any size.

    Finished blocks are kept next to the outputs until all are done, so the same call continues after an interruption. Nothing
    is done if nothing has changed since the raster was finished.

    Args:
        job: the raster and its requested outputs.
        model: describes the model that `prepare` loads.
        prepare: loads the model in a process and returns a function that segments a block.
        executor: runs the blocks.
        visible: whether to show progress on a terminal.
        exists: returns whether an output exists, for outputs whose final destination is elsewhere.

    Raises:
        RasterError: the raster cannot be read or does not fit the options.
        UserError: no process can be prepared, or a package for a format is missing.
    """
    raster = _plan_raster(job, model)
    if (report := _read_report(raster, exists)) is not None:
        return report
    job.out.parent.mkdir(parents=True, exist_ok=True)
    tasks = list_blocks(raster.plan)
    parts = Parts(raster.sibling(PARTS), raster.description)
    missing = parts.missing(tasks)
    _compute(job.source, missing, len(tasks), parts, prepare, executor, visible)
    counts = _write_outputs(raster, tasks, parts)
    outputs = tuple(raster.path(output) for output in job.formats)
    pixels = dict(zip(model.labels.names, counts.tolist(), strict=True))
    report = RasterReport(outputs, pixels, len(missing), len(tasks) - len(missing))
    _write_record(raster, report)
    parts.remove()
    return report


def is_output(raster: Path) -> bool:
    """Return whether a raster is an output of a run, finished or not, judged by the files next to it."""
    for output in (LABELS, CONFIDENCE):
        name, suffix, _ = raster.name.partition(SUFFIXES[output])  # A draft's name continues after the suffix.
        if suffix and any(raster.with_name(f"{name}{ending}").exists() for ending in (RECORD, PARTS)):
            return True
    return False


def _plan_raster(job: RasterJob, model: ModelCard) -> _PlannedRaster:
    wants_polygons = any(output in WRITERS for output in job.formats)
    inference = job.inference or model.inference
    if inference.tiles != 1 or inference.refine != "none":
        raise RasterError(f"{job.source}: 'tiles' and 'refine' are options of single images; a raster has windows")
    with RasterReader(job.source, job.options) as reader:
        file = reader.file
        georeference = Georeference(tuple(file.transform[:6]), file.crs)
        if "geojson" in job.formats:
            check_geojson(job.source, georeference, reader.size)
        gcps, gcps_crs = file.gcps
        tolerance = job.tolerance if wants_polygons else None
        plan = make_plan(reader, job.options, model.policy, inference, job.window_options, tolerance)
        profile = {"width": file.width, "height": file.height}
        profile |= {"gcps": gcps, "crs": gcps_crs} if gcps else {"transform": file.transform, "crs": file.crs}
        if gcps and wants_polygons:
            raise RasterError(f"{job.source}: only control points place it, so polygons have no place; run gdalwarp first")
        tags = {"AREA_OR_POINT": file.tags().get("AREA_OR_POINT", "Area")}
    return _PlannedRaster(job, model, plan, georeference, profile, tags)


def _compute(
    source: str, missing: list[BlockTask], total: int, parts: Parts, prepare: Prepare, executor: Executor, visible: bool
) -> None:
    if not missing:
        return
    with closing(run_tasks(executor, prepare, missing)) as outcomes:
        for outcome in progress(outcomes, "segmenting", total=total, done=total - len(missing), visible=visible):
            if isinstance(outcome, Quarantined):
                rows = "{:,} to {:,}".format(*outcome.task.row_range)
                raise RasterError(f"{source}: rows {rows} ended their process {outcome.attempts} times: {outcome.reason}")
            if isinstance(outcome.result, BlockFault):
                raise RasterError(outcome.result.reason)
            parts.add(outcome.task, outcome.result)


def _write_outputs(raster: _PlannedRaster, tasks: Sequence[BlockTask], parts: Parts) -> npt.NDArray[np.int64]:
    """Write all outputs; return the pixels of each class."""
    labels, formats = raster.model.labels, raster.job.formats
    counts, index = np.zeros(len(labels.names), np.int64), PieceIndex()
    model = f"{raster.model.identity.name} {raster.model.identity.version}".strip()
    tags = {**raster.tags, "TIFFTAG_SOFTWARE": f"DeepLab Serve {VERSION}", "MODEL": model}
    mosaics = {}
    if LABELS in formats:
        mosaics[LABELS] = label_mosaic(raster.path(LABELS), raster.profile, labels, tags)
    if CONFIDENCE in formats:
        mosaics[CONFIDENCE] = confidence_mosaic(raster.path(CONFIDENCE), raster.profile, tags)
    with discarding(list(mosaics.values())):
        for task in tasks:
            block = parts.load(task)
            counts += np.bincount(block.labels.ravel(), minlength=void_index(len(labels.names)) + 1)[: len(labels.names)]
            for output, values in ((LABELS, block.labels), (CONFIDENCE, block.confidence)):
                if output in mosaics:
                    mosaics[output].write(values, task.area)
            if block.pieces is not None:
                index.add(task, block.pieces)
        if LABELS in mosaics:
            mosaics[LABELS].finish("mode", {f"CLASS_{number}": name for number, name in enumerate(labels.names)})
            write_class_names(raster.path(LABELS), labels, counts)
        if CONFIDENCE in mosaics:
            mosaics[CONFIDENCE].finish("average", {}, scale=1 / 255)
    for output in formats:
        if output in WRITERS:
            features = join_pieces(_pieces(tasks, parts), index)
            WRITERS[output](raster.path(output), features, labels, raster.georeference)
    return counts


def _pieces(tasks: Iterable[BlockTask], parts: Parts) -> Iterator[Pieces]:
    for task in tasks:
        pieces = parts.load(task).pieces
        if pieces is not None:
            yield pieces


def _read_report(raster: _PlannedRaster, exists: Callable[[Path], bool]) -> RasterReport | None:
    """Return the report of an earlier run of the same job if its outputs still exist, or None."""
    try:
        record = json.loads(raster.sibling(RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    outputs = tuple(raster.path(output) for output in raster.job.formats)
    if not isinstance(record, dict) or record.get("digest") != raster.digest or not all(map(exists, outputs)):
        return None
    return RasterReport(outputs, record["pixels"], 0, record["blocks"], done_before=True)


def _write_record(raster: _PlannedRaster, report: RasterReport) -> None:
    record = {
        "source": raster.job.source,
        "model": asdict(raster.model.identity),
        "outputs": [path.name for path in report.outputs],
        "pixels": report.pixels,
        "blocks": report.computed + report.reused,
        "digest": raster.digest,
    }
    write_atomically(raster.sibling(RECORD), json.dumps(record, indent=1, ensure_ascii=False).encode())


def _state(source: str) -> list[int]:
    """Return a local file's size and modification time, to notice changes, or nothing for other sources."""
    try:
        status = Path(source).stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
