"""Measure a worker's peak memory for two simultaneous images of the largest size allowed, and compare it with a bound.

python -m benchmarks.largest_images --out build/memory.json

Requests every kind of file as `png`, a JPEG in every format, and an image of hundreds of objects in the formats that list
connected parts, though some formats refuse it as too large. Everything is sent to a server that answers one request at a
time, then to one that batches, whose worker has both images at once. Runs on Linux, whose kernel records the peak (VmHWM).
"""

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tifffile
from PIL import Image
from skimage import data

from benchmarks.process_memory import ProcessMemory, reset_peak
from handler.answers import FORMATS
from scripts.arguments import Parser
from scripts.errors import report_errors
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, Recipe
from scripts.package.build import build
from scripts.server import Ports, Server, ServerError, serving
from scripts.yaml_file import read_mapping, write_mapping

#: Bytes, including the roughly 550 million of an idle worker.
BOUND = 3_500_000_000
#: 64 megapixels, the limit in handler/model-config.yaml.
_SIDE = 8_000
#: Number of cats along each side of the image of many objects.
_MOSAIC = 24
_MOSAIC_OPTIONS: tuple[Mapping[str, str], ...] = (
    {"format": "json", "masks": "png"},
    *({"format": name} for name in ("coco", "labelstudio", "labelstudio_polygons", "geojson", "huggingface", "cvat")),
    {"format": "coco_panoptic"},
)
_BATCH_SIZES = (1, 8)
_TIMEOUT_S = 300


@dataclass(frozen=True)
class LargestImage:
    """A file of the largest size and the options of its request."""

    file: str
    options: Mapping[str, str]
    path: str = "predictions"

    @property
    def name(self) -> str:
        return ", ".join([*(["explanation"] if self.path == "explanations" else []), *map("=".join, self.options.items())])


@dataclass(frozen=True)
class Measurement:
    """The worker's peak while it answered one case, in bytes."""

    batch_size: int
    file: str
    options: str
    statuses: tuple[int, ...]
    seconds: float
    peak: int


def _photo() -> Image.Image:
    """Return a photograph enlarged to large blocks, so that its files are small in every format."""
    small = Image.fromarray(data.chelsea()).resize((250, 250))  # type: ignore[no-untyped-call]
    return small.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)


def _mosaic() -> Image.Image:
    """Return cats on grey, in which the network finds hundreds of parts with 4×4 tiles; their outlines approach the limit."""
    side = _SIDE // _MOSAIC
    margin = side // 8
    cat = Image.fromarray(data.chelsea()).resize((side - 2 * margin, side - 2 * margin))  # type: ignore[no-untyped-call]
    tile = np.pad(np.asarray(cat), ((margin, margin), (margin, margin), (0, 0)), constant_values=128)
    return Image.fromarray(np.tile(tile, (_MOSAIC, _MOSAIC, 1)))


def _grey_16_bit() -> Image.Image:
    return Image.fromarray(np.asarray(_photo().convert("L"), np.uint16) * 257)


def _with_alpha() -> Image.Image:
    photo = _photo()
    photo.putalpha(200)
    return photo


def _encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def _encode_heic(image: Image.Image) -> bytes:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=50)
    return file.getvalue()


def _four_bands() -> bytes:
    """Return a TIFF in a single strip, with the most bytes per pixel allowed at the largest size."""
    grey = np.asarray(_grey_16_bit())
    file = io.BytesIO()
    bands = np.stack([grey] * 4, -1)
    tifffile.imwrite(file, bands, photometric="minisblack", planarconfig="contig", compression="zlib", rowsperstrip=len(grey))
    return file.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: _encode(_photo(), "JPEG"),
    "JPEG of many objects": lambda: _encode(_mosaic(), "JPEG", quality=50),
    "progressive CMYK JPEG": lambda: _encode(_photo().convert("CMYK"), "JPEG", progressive=True, subsampling=0),
    "RGBA PNG": lambda: _encode(_with_alpha(), "PNG", compress_level=1),
    "16-bit PNG": lambda: _encode(_grey_16_bit(), "PNG", compress_level=1),
    "WebP": lambda: _encode(_photo(), "WEBP", quality=50, method=0),
    "AVIF": lambda: _encode(_photo(), "AVIF", quality=50, speed=10),
    "HEIC": lambda: _encode_heic(_photo()),
    "JPEG 2000": lambda: _encode(_photo(), "JPEG2000", quality_mode="rates", quality_layers=[100]),
    "16-bit TIFF of 4 bands": _four_bands,
    "RGB TIFF": lambda: _encode(_photo(), "TIFF", compression="tiff_adobe_deflate"),
}


def cases() -> Iterator[LargestImage]:
    """Yield every file as `png`, then the JPEGs with all other formats and options."""
    for file in FILES:
        yield LargestImage(file, {"format": "png"})
    for name in FORMATS:
        if name != "png":
            yield LargestImage("JPEG", {"format": name})
    for options in ({"components": "true"}, {"masks": "png"}, {"masks": "polygons"}, {"tiles": "4"}, {"classes": "cat"}):
        yield LargestImage("JPEG", options)
    yield LargestImage("JPEG", {}, "explanations")
    for mosaic_options in _MOSAIC_OPTIONS:
        yield LargestImage("JPEG of many objects", {**mosaic_options, "components": "true", "tiles": "4"})


def measure(server: Server, batch_size: int, case: LargestImage, file: bytes) -> Measurement:
    """Send the file twice at the same time and return the worker's peak.

    Raises:
        ServerError: the worker ended.
    """
    pid = _worker_pid(server)
    url = server.url.replace("/predictions/", f"/{case.path}/")
    headers = {"Content-Type": "application/octet-stream", **{f"X-Segment-{key}": value for key, value in case.options.items()}}
    reset_peak(pid)

    def send(_: int) -> requests.Response:
        return requests.post(url, data=file, headers=headers, timeout=_TIMEOUT_S)

    with ThreadPoolExecutor(2) as pool:
        responses = list(pool.map(send, range(2)))
    if _worker_pid(server) != pid:
        raise ServerError(f"the worker ended while it answered {case.file}, {case.name}")
    statuses = tuple(response.status_code for response in responses)
    seconds = max(response.elapsed.total_seconds() for response in responses)
    return Measurement(batch_size, case.file, case.name, statuses, seconds, ProcessMemory.read(pid).peak)


def measure_all(folder: Path) -> Iterator[Measurement]:
    """Measure every case on one server per batch size."""
    files = {name: make_file() for name, make_file in FILES.items()}
    for batch_size in _BATCH_SIZES:
        config = folder / "model-config.yaml"
        write_mapping(config, model_config(batch_size))
        archive = build(Recipe("deeplabv3", "1.0", DEFAULT_CHECKPOINT, config), folder / "store")
        with serving(archive, Ports.free(), folder / "run") as server:
            for case in cases():
                yield measure(server, batch_size, case, files[case.file])


def model_config(batch_size: int) -> dict[str, Any]:
    """Return the bundle's model-config.yaml with this batch size, and a delay that lets two requests meet in a batch."""
    changes = {"batchSize": batch_size, "responseTimeout": _TIMEOUT_S}
    # The delay is in milliseconds.
    delay = {"maxBatchDelay": 3000} if batch_size > 1 else {}
    return read_mapping(DEFAULT_MODEL_CONFIG) | changes | delay


def _worker_pid(server: Server) -> int:
    (worker,) = server.workers()
    return int(str(worker["pid"]))


def _row(measurement: Measurement) -> str:
    answers = "/".join(map(str, measurement.statuses))
    figures = f"{measurement.seconds:>6.1f} {measurement.peak / 1e6:>8,.0f}"
    return f"{measurement.batch_size:>5}  {measurement.file:<22} {measurement.options:<64} {answers:<10} {figures}"


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    print(f"{'batch':>5}  {'file':<22} {'options':<64} {'answers':<10} {'s':>6} {'peak MB':>8}", flush=True)
    measurements = []
    with tempfile.TemporaryDirectory() as folder:
        for measurement in measure_all(Path(folder)):
            print(_row(measurement), flush=True)
            measurements.append(measurement)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"bound": BOUND, "measured": [asdict(measurement) for measurement in measurements]}
    arguments.out.write_text(json.dumps(content, indent=1))
    peak = max(measurement.peak for measurement in measurements)
    print(f"the highest peak is {peak / 1e6:,.0f} MB, the bound {BOUND / 1e6:,.0f} MB")
    return int(peak > BOUND)


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.largest_images", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
