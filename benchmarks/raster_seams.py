"""Measure whether seams between windows show in a raster's labels.

python -m benchmarks.raster_seams --archive build/model-store/deeplabv3.mar --out build/seams
python -m benchmarks.raster_seams --archive MODEL.mar --raster town.tif --out build/seams

A raster is segmented whole, and again without some of its first rows and columns, which moves its seams. For each overlap of
windows the table gives the share of pixels whose labels differ: within 16 pixels of a seam of either run, and farther from all
seams. If seams do not show, the two shares are equal.
"""

import sys
from argparse import Namespace
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from benchmarks.huge_raster import make_raster
from scripts.arguments import Parser, existing_file, positive_int
from scripts.errors import UserError, report_errors
from scripts.rasters.command import run
from scripts.rasters.layout import MIN_OVERLAP, Side

#: Pixels closer to a seam than this count as near.
_NEAR = 16
#: How much is cropped, in windows. Several values, since the seams of a single one may happen to lie on class borders.
_SHIFTS = (0.12, 0.33, 0.54, 0.81)

Labels = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Differences:
    """Numbers of pixels whose labels depend on the windows' positions, and of all pixels, near seams and elsewhere."""

    differing_near: int = 0
    pixels_near: int = 0
    differing_elsewhere: int = 0
    pixels_elsewhere: int = 0

    def __add__(self, other: "Differences") -> "Differences":
        return Differences(*(sum(pair) for pair in zip(astuple(self), astuple(other), strict=True)))

    def row(self, overlap: int) -> str:
        near, elsewhere = self.differing_near / self.pixels_near, self.differing_elsewhere / self.pixels_elsewhere
        return f"| {overlap} | {near:.2%} | {elsewhere:.2%} | {near / elsewhere:.2f} |"


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    raster = arguments.raster
    if raster is None:
        raster = arguments.out / f"{arguments.side}.tif"
        make_raster(raster, arguments.side)
    window = arguments.window
    print("| overlap | differ within 16 pixels of a seam | elsewhere | ratio |\n|---|---|---|---|")
    for overlap in (MIN_OVERLAP, window // 4, window // 3):
        reference = segment(raster, arguments, overlap)
        differences = Differences()
        for fraction in _SHIFTS:
            shifted = arguments.out / f"shifted-{fraction:g}.tif"
            write_shifted(raster, shifted, round(window * fraction))
            differences += compare(reference, segment(shifted, arguments, overlap), window, overlap)
        print(differences.row(overlap), flush=True)
    return 0


def segment(raster: Path, arguments: Namespace, overlap: int) -> Labels:
    """Return the labels of a raster, h×w.

    Raises:
        UserError: the raster could not be segmented; the reason is printed.
    """
    out = arguments.out / f"overlap-{overlap}"
    window = ["--window", str(arguments.window), "--overlap", str(overlap)]
    if run([str(raster), "--archive", str(arguments.archive), "--out", str(out), *window]):
        raise UserError(f"{raster}: was not segmented")
    with rasterio.open(out / f"{raster.stem}.labels.tif") as file:
        labels: Labels = file.read(1).astype(np.uint16)
        return labels


def write_shifted(raster: Path, shifted: Path, shift: int) -> None:
    """Write `raster` without its first `shift` rows and columns."""
    with rasterio.open(raster) as file:
        window = Window(shift, shift, file.width - shift, file.height - shift)
        profile = {"count": file.count, "dtype": file.dtypes[0], "crs": file.crs, "transform": file.window_transform(window)}
        with rasterio.open(
            shifted, "w", driver="GTiff", width=window.width, height=window.height, **profile, tiled=True, compress="DEFLATE"
        ) as copy:
            copy.colorinterp = file.colorinterp
            copy.write(file.read(window=window))


def compare(reference: Labels, shifted: Labels, window: int, overlap: int) -> Differences:
    """Compare the labels of a whole raster, h×w, with those of the raster without its first rows and columns."""
    shift = reference.shape[0] - shifted.shape[0]
    is_different = reference[shift:, shift:] != shifted
    near_reference = np.logical_or.outer(*(near_seams(pixels, window, overlap)[shift:] for pixels in reference.shape))
    near_shifted = np.logical_or.outer(*(near_seams(pixels, window, overlap) for pixels in shifted.shape))
    near, elsewhere = near_reference != near_shifted, ~(near_reference | near_shifted)
    return Differences(int(is_different[near].sum()), int(near.sum()), int(is_different[elsewhere].sum()), int(elsewhere.sum()))


def near_seams(pixels: int, window: int, overlap: int) -> npt.NDArray[np.bool_]:
    """Return a mask of the pixels along a side that are near the middle of the overlap of two windows."""
    starts = np.array(Side.cover(pixels, pixels, window, overlap).starts)
    seams = (starts[1:] + starts[:-1] + window) / 2
    centres = np.arange(pixels) + 0.5
    near: npt.NDArray[np.bool_] = (np.abs(centres[:, None] - seams) < _NEAR).any(axis=1)
    return near


def _parser() -> Parser:
    parser = Parser("python -m benchmarks.raster_seams", __doc__)
    parser.add_argument("--archive", type=existing_file, required=True, metavar="FILE", help="the model, a .mar")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for rasters and labels")
    parser.add_argument("--raster", type=existing_file, metavar="FILE", help="a raster (default: a mosaic of photographs)")
    parser.add_argument(
        "--side", type=positive_int, default=4_000, metavar="PIXELS", help="side of the default raster (%(default)s)"
    )
    parser.add_argument(
        "--window", type=positive_int, default=640, metavar="PIXELS", help="side of the network's window (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
