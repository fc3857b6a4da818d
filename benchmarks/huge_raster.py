"""Segment a huge raster, optionally killing and resuming the run, and measure the memory of all processes together.

python -m benchmarks.huge_raster --archive build/model-store/deeplabv3.mar --out build/huge
python -m benchmarks.huge_raster --archive MODEL.mar --out build/huge --side 30000 --resolution 0.2 --formats labels,gpkg

The raster is made of sample photographs, with pixels of 0.1 m. Prints a table and writes the same figures to OUT/huge.json.
"""

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.process_memory import family_resident
from benchmarks.serving.report.machine import this_machine
from scripts.arguments import Parser, existing_file, positive_int
from scripts.errors import UserError, report_errors

_PIXEL_M = 0.1
_TILE = 512
_SAMPLE_S = 0.25


@dataclass(frozen=True)
class Run:
    """One run of the program."""

    seconds: float
    #: Peak memory of all its processes together, in bytes; shared memory counts once per process.
    peak_bytes: int
    exit_code: int


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    raster = arguments.out / f"{arguments.side}.tif"
    if not raster.exists():
        make_raster(raster, arguments.side)
    command = _command(arguments, raster)
    runs = []
    if arguments.kill_after:
        runs.append(watch(command, kill_after_s=arguments.kill_after))
    reused_blocks = len(list(arguments.out.glob("*.parts/*.block")))
    runs.append(watch(command))
    if runs[-1].exit_code:
        raise UserError(f"the run ended with exit code {runs[-1].exit_code}")
    _report(arguments, raster, runs, reused_blocks)
    return 0


def make_raster(path: Path, side: int) -> None:
    """Write a GeoTIFF of `side` × `side` pixels: a mosaic of photographs, each with a different brightness."""
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window
    from skimage import data

    astronaut, cat = data.astronaut(), data.cat()  # type: ignore[no-untyped-call]
    photographs = [np.moveaxis(np.resize(photograph, (_TILE, _TILE, 3)), -1, 0) for photograph in (astronaut, cat)]
    noise = np.random.default_rng(0)
    part = path.with_name(f"{path.name}.part")
    profile = {"width": side, "height": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    tiling = {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE, "compress": "JPEG", "photometric": "YCBCR"}
    with rasterio.open(
        part, "w", driver="GTiff", transform=from_origin(5e5, 5e6, _PIXEL_M, _PIXEL_M), **profile, **tiling
    ) as file:
        for top in range(0, side, _TILE):
            for left in range(0, side, _TILE):
                tile = photographs[noise.integers(len(photographs))] * noise.uniform(0.6, 1)
                height, width = min(_TILE, side - top), min(_TILE, side - left)
                file.write(tile[:, :height, :width].astype(np.uint8), window=Window(left, top, width, height))
    part.replace(path)


def watch(command: Sequence[str], *, kill_after_s: float | None = None) -> Run:
    """Run a program and sample the memory of it and its children; kill only the program itself after `kill_after_s`."""
    start, peak = time.monotonic(), 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            try:
                peak = max(peak, family_resident(process.pid))
            except (psutil.Error, FileNotFoundError, KeyError, ValueError):
                continue  # A process has ended in the meantime.
            if kill_after_s is not None and time.monotonic() - start > kill_after_s:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(_SAMPLE_S)
    return Run(time.monotonic() - start, peak, process.returncode)


def _command(arguments: Namespace, raster: Path) -> list[str]:
    program = [sys.executable, "-m", "scripts.rasters", str(raster), "--archive", str(arguments.archive)]
    options = ["--option", f"resolution={arguments.resolution}"] if arguments.resolution else []
    jobs = ["--jobs", str(arguments.jobs)] if arguments.jobs else []
    return [*program, "--out", str(arguments.out), "--format", arguments.formats, "--option", "tolerance=2", *options, *jobs]


def _report(arguments: Namespace, raster: Path, runs: Sequence[Run], reused_blocks: int) -> None:
    megapixels = arguments.side**2 / 1e6
    seconds = sum(run.seconds for run in runs)
    figures = {
        "machine": asdict(this_machine()),
        "raster": raster.name,
        "megapixels": megapixels,
        "resolution": arguments.resolution or _PIXEL_M,
        "formats": arguments.formats,
        "runs": [asdict(run) for run in runs],
        "blocks_kept_after_kill": reused_blocks,
        "seconds_per_megapixel": seconds / megapixels,
    }
    (arguments.out / "huge.json").write_text(json.dumps(figures, indent=1, default=str))
    print("| run | seconds | memory of all processes |\n|---|---|---|")
    for number, run in enumerate(runs):
        label = "killed" if number < len(runs) - 1 else "whole" if len(runs) == 1 else "continued"
        print(f"| {label} | {run.seconds:,.0f} | {run.peak_bytes / 2**20:,.0f} MiB |")
    pace = f"{1000 * seconds / megapixels:,.0f} ms a megapixel"
    print(f"\n{megapixels:,.0f} megapixels, {pace}; {reused_blocks} blocks outlived the kill")


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.huge_raster", __doc__)
    parser.add_argument("--archive", type=existing_file, required=True, metavar="FILE", help="the model, a .mar")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the raster and its outputs")
    parser.add_argument("--side", type=positive_int, default=30_000, metavar="PIXELS", help="side of the raster (%(default)s)")
    parser.add_argument("--resolution", type=float, metavar="METRES", help="pixel size that the network sees (0.1)")
    parser.add_argument(
        "--formats", default="labels,confidence,gpkg", metavar="NAME,...", help="formats to write (%(default)s)"
    )
    parser.add_argument("--jobs", type=positive_int, metavar="N", help="processes; by default one per core")
    parser.add_argument(
        "--kill-after", type=float, metavar="SECONDS", help="kill -9 a first run after this time, then resume it"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
