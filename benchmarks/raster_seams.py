"""Measure whether the seams of windows show in a raster's labels.

python -m benchmarks.raster_seams --archive build/model-store/deeplabv3.mar --out build/seams
python -m benchmarks.raster_seams --archive MODEL.mar --raster town.tif --out build/seams

A raster is segmented twice, the second time without its first half window of rows and columns, so that its seams lie
elsewhere. For each overlap of windows the table has the share of pixels whose labels differ between both: within 16 pixels of a
seam of the first run, where the second has none, and further than that from the seams of both. If seams do not show, the two
shares are equal.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from benchmarks.huge_raster import make_raster
from scripts.arguments import Parser, existing_file, positive_int
from scripts.errors import UserError, report_errors
from scripts.rasters.command import run
from scripts.rasters.layout import LEAST_OVERLAP, Side

#: How far from a seam its effects are looked for, in pixels.
_NEAR = 16


@dataclass(frozen=True)
class Seams:
    """The share of labels that depend on where the windows lie."""

    near: float
    elsewhere: float


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    raster = arguments.raster
    if raster is None:
        raster = arguments.out / f"{arguments.side}.tif"
        make_raster(raster, arguments.side)
    window = arguments.window
    shifted = arguments.out / "shifted.tif"
    write_shifted(raster, shifted, window // 2)
    print("| overlap | differ within 16 pixels of a seam | elsewhere | ratio |\n|---|---|---|---|")
    for overlap in (LEAST_OVERLAP, window // 8, window // 4, window // 3):
        out = arguments.out / f"overlap-{overlap}"
        options = ["--archive", str(arguments.archive), "--out", str(out), "--window", str(window), "--overlap", str(overlap)]
        if run([str(raster), str(shifted), *options]):
            raise UserError("a raster was not segmented")
        first, second = (read_labels(out / f"{path.stem}.labels.tif") for path in (raster, shifted))
        seams = compare(first, second, window, overlap)
        print(f"| {overlap} | {seams.near:.2%} | {seams.elsewhere:.2%} | {seams.near / seams.elsewhere:.2f} |", flush=True)
    return 0


def write_shifted(raster: Path, shifted: Path, by: int) -> None:
    """Write `raster` without its first `by` rows and columns."""
    with rasterio.open(raster) as file:
        window = Window(by, by, file.width - by, file.height - by)
        profile = {"count": file.count, "dtype": file.dtypes[0], "crs": file.crs, "transform": file.window_transform(window)}
        with rasterio.open(
            shifted, "w", driver="GTiff", width=window.width, height=window.height, **profile, tiled=True, compress="DEFLATE"
        ) as copy:
            copy.colorinterp = file.colorinterp
            copy.write(file.read(window=window))


def read_labels(path: Path) -> npt.NDArray[np.uint16]:
    with rasterio.open(path) as file:
        labels: npt.NDArray[np.uint16] = file.read(1).astype(np.uint16)
        return labels


def compare(first: npt.NDArray[np.uint16], second: npt.NDArray[np.uint16], window: int, overlap: int) -> Seams:
    """Compare the labels of a whole raster, h×w, with those of the same raster without its first rows and columns."""
    shift = first.shape[0] - second.shape[0]
    differs = first[shift:, shift:] != second
    of_first = np.logical_or.outer(*(near_seams(pixels, window, overlap)[shift:] for pixels in first.shape))
    of_second = np.logical_or.outer(*(near_seams(pixels, window, overlap) for pixels in second.shape))
    return Seams(float(differs[of_first & ~of_second].mean()), float(differs[~of_first & ~of_second].mean()))


def near_seams(pixels: int, window: int, overlap: int) -> npt.NDArray[np.bool_]:
    """Return which pixels of a side lie near the middle of what two windows share."""
    starts = np.array(Side.covered(pixels, pixels, window, overlap).starts)
    seams = (starts[1:] + starts[:-1] + window) / 2
    centres = np.arange(pixels) + 0.5
    near: npt.NDArray[np.bool_] = (np.abs(centres[:, None] - seams) < _NEAR).any(axis=1)
    return near


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.raster_seams", __doc__)
    parser.add_argument("--archive", type=existing_file, required=True, metavar="FILE", help="the model, a .mar")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for rasters and labels")
    parser.add_argument("--raster", type=existing_file, metavar="FILE", help="by default photographs side by side")
    parser.add_argument("--side", type=positive_int, default=4_000, metavar="PIXELS", help="of that raster (%(default)s)")
    parser.add_argument("--window", type=positive_int, default=640, metavar="PIXELS", help="of the network (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
