"""Data sets on disk: one file per layout, one registry."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.strict import nearest
from scripts.datasets import cityscapes, plain, voc
from scripts.datasets.check import DataSummary, check
from scripts.datasets.data import VOID, DataError, Mask, Sample, SegmentationData

__all__ = [
    "LAYOUTS",
    "VOID",
    "DataError",
    "DataSummary",
    "Layout",
    "Mask",
    "Sample",
    "SegmentationData",
    "check",
    "open_data",
    "splits",
]


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk."""

    looks_like: str
    recognises: Callable[[Path], bool]
    #: The splits that a folder of this layout has; none: it can only be opened whole.
    splits: Callable[[Path], tuple[str, ...]]
    open_split: Callable[[Path, str | None], SegmentationData]


LAYOUTS: dict[str, Layout] = {
    layout.NAME: Layout(layout.LOOKS_LIKE, layout.recognises, layout.splits, layout.open_split)
    for layout in (voc, cityscapes, plain)
}


def open_data(root: Path, split: str | None = None) -> SegmentationData:
    """Find the samples of the data set at `root`; no file of it is decoded.

    Without `split`, a data set of one split is opened at that, and one of no splits whole.

    Raises:
        DataError: `root` has no known layout, several splits or none of that name; or images or masks are missing.
    """
    layout = _recognise(root)
    found = layout.splits(root)
    if split is None and len(found) > 1:
        raise DataError(f"{root}: has the splits {', '.join(found)}; say which")
    if split is not None and split not in found:
        raise DataError(f"{root}: has no split {split!r}{nearest(split, found)}")
    return layout.open_split(root, split or next(iter(found), None))


def splits(root: Path) -> tuple[str, ...]:
    """The names of the splits of the data set at `root`.

    Raises:
        DataError: `root` has no known layout.
    """
    return _recognise(root).splits(root)


def _recognise(root: Path) -> Layout:
    if not root.is_dir():
        raise DataError(f"{root}: is no folder")
    for layout in LAYOUTS.values():
        if layout.recognises(root):
            return layout
    known = "\n".join(f"  {name}: {layout.looks_like}" for name, layout in LAYOUTS.items())
    raise DataError(f"{root}: has none of the known layouts, which are\n{known}")
