"""Measure the most memory that a worker takes for two images at once of the largest size allowed, and hold it to a bound.

python -m benchmarks.largest_images --out build/memory.json

Each kind of file is asked for as `png`, a JPEG as every format, and one of very many objects as the formats that list connected
parts, some of which are refused as too large; once of a server that answers one request at a time, and
once of one that batches, where both are in the worker together. On Linux: the kernel keeps the peak (VmHWM).
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import requests
from PIL import Image
from skimage import data

from benchmarks.process_memory import Memory, forget_peak
from handler.answers import FORMATS
from scripts.java import JavaNotFound
from scripts.package import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, Recipe, build
from scripts.server import Ports, Server, ServerError, serving

#: Bytes. What a worker takes at rest, about 550 million, is part of it.
BOUND = 3_500_000_000
#: 64 megapixels, the limit that handler/model-config.yaml sets.
_SIDE = 8_000
#: Cats along each side of the picture of very many.
_MOSAIC = 24
#: What is asked of it.
_OF_MANY: tuple[Mapping[str, str], ...] = (
    {"format": "json", "masks": "png"},
    *({"format": name} for name in ("coco", "labelstudio", "labelstudio_polygons", "geojson", "huggingface", "cvat")),
    {"format": "coco_panoptic"},
)
_BATCH_SIZES = (1, 8)
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Case:
    """A file of the largest size, and what is asked for it."""

    file: str
    options: Mapping[str, str]
    path: str = "predictions"

    @property
    def name(self) -> str:
        return ", ".join([*(["explanation"] if self.path == "explanations" else []), *map("=".join, self.options.items())])


@dataclass(frozen=True)
class Measurement:
    """The worker's peak in one case, in bytes."""

    batch_size: int
    file: str
    asked: str
    statuses: tuple[int, ...]
    seconds: float
    peak: int


def _photo() -> Image.Image:
    """Of blocks, so that its files are small whatever their format."""
    small = Image.fromarray(data.chelsea()).resize((250, 250))  # type: ignore[no-untyped-call]
    return small.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)


def _mosaic() -> Image.Image:
    """Of cats on grey: a network that sees it in 4×4 tiles finds hundreds of parts, whose outlines are near the limit."""
    side = _SIDE // _MOSAIC
    margin = side // 8
    cat = Image.fromarray(data.chelsea()).resize((side - 2 * margin, side - 2 * margin))  # type: ignore[no-untyped-call]
    tile = np.pad(np.asarray(cat), ((margin, margin), (margin, margin), (0, 0)), constant_values=128)
    return Image.fromarray(np.tile(tile, (_MOSAIC, _MOSAIC, 1)))


def _deep() -> Image.Image:
    return Image.fromarray(np.asarray(_photo().convert("L"), np.uint16) * 257)


def _with_alpha() -> Image.Image:
    photo = _photo()
    photo.putalpha(200)
    return photo


def _file(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: _file(_photo(), "JPEG"),
    "JPEG of very many": lambda: _file(_mosaic(), "JPEG", quality=50),
    "progressive CMYK JPEG": lambda: _file(_photo().convert("CMYK"), "JPEG", progressive=True, subsampling=0),
    "RGBA PNG": lambda: _file(_with_alpha(), "PNG", compress_level=1),
    "16-bit PNG": lambda: _file(_deep(), "PNG", compress_level=1),
    "WebP": lambda: _file(_photo(), "WEBP", quality=50, method=0),
    "RGB TIFF": lambda: _file(_photo(), "TIFF", compression="tiff_adobe_deflate"),
}


def cases() -> Iterator[Case]:
    """Every file as `png`, then a JPEG as everything."""
    for file in FILES:
        yield Case(file, {"format": "png"})
    for name in FORMATS:
        if name != "png":
            yield Case("JPEG", {"format": name})
    for more in ({"components": "true"}, {"masks": "png"}, {"masks": "polygons"}, {"tiles": "4"}, {"classes": "cat"}):
        yield Case("JPEG", more)
    yield Case("JPEG", {}, "explanations")
    for options in _OF_MANY:
        yield Case("JPEG of very many", {**options, "components": "true", "tiles": "4"})


def measure(server: Server, batch_size: int, case: Case, file: bytes) -> Measurement:
    """Send the file twice at once; the peak of the worker meanwhile.

    Raises:
        ServerError: the worker ended.
    """
    pid = _worker(server)
    url = server.url.replace("/predictions/", f"/{case.path}/")
    headers = {"Content-Type": "application/octet-stream", **{f"X-Segment-{key}": value for key, value in case.options.items()}}
    forget_peak(pid)

    def send(_: int) -> requests.Response:
        return requests.post(url, data=file, headers=headers, timeout=_TIMEOUT_S)

    with ThreadPoolExecutor(2) as pool:
        responses = list(pool.map(send, range(2)))
    if _worker(server) != pid:
        raise ServerError(f"the worker ended at {case.file}, {case.name}")
    seconds = max(response.elapsed.total_seconds() for response in responses)
    return Measurement(
        batch_size, case.file, case.name, tuple(each.status_code for each in responses), seconds, Memory.of(pid).peak
    )


def _worker(server: Server) -> int:
    (worker,) = server.workers()
    return int(str(worker["pid"]))


def measure_all(folder: Path) -> Iterator[Measurement]:
    """Every case, of a server for each batch size."""
    files = {name: make() for name, make in FILES.items()}
    for batch_size in _BATCH_SIZES:
        config = folder / "model-config.yaml"
        config.write_text(_configured(DEFAULT_MODEL_CONFIG.read_text(), batch_size))
        archive = build(Recipe("deeplabv3", "1.0", DEFAULT_CHECKPOINT, config), folder / "store")
        with serving(archive, Ports.free(), folder / "run") as server:
            for case in cases():
                yield measure(server, batch_size, case, files[case.file])


def _row(each: Measurement) -> str:
    answers = "/".join(map(str, each.statuses))
    figures = f"{each.seconds:>6.1f} {each.peak / 1e6:>8,.0f}"
    return f"{each.batch_size:>5}  {each.file:<22} {each.asked:<64} {answers:<10} {figures}"


def _configured(text: str, batch_size: int) -> str:
    """The text of model-config.yaml, so that two requests meet in one batch, and a slow machine has the time for them."""
    text = text.replace("batchSize: 4 ", f"batchSize: {batch_size} ").replace(
        "responseTimeout: 300 ", f"responseTimeout: {_TIMEOUT_S} "
    )
    return text.replace("maxBatchDelay: 1 ", "maxBatchDelay: 3000 ") if batch_size > 1 else text


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    print(f"{'batch':>5}  {'file':<22} {'asked for':<64} {'answers':<10} {'s':>6} {'peak MB':>8}", flush=True)
    found = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for each in measure_all(Path(folder)):
                print(_row(each), flush=True)
                found.append(each)
    except (ServerError, JavaNotFound) as error:
        print(error, file=sys.stderr)
        return 1
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"bound": BOUND, "measured": [asdict(each) for each in found]}, indent=1))
    most = max(each.peak for each in found)
    print(f"the most is {most / 1e6:,.0f} MB, the bound {BOUND / 1e6:,.0f} MB")
    return int(most > BOUND)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.largest_images", description="Measure a worker's peak memory.")
    parser.add_argument("--out", type=Path, required=True, help="for the figures, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
