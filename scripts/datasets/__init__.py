"""Open data sets on disk: one file per layout, one registry."""

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
    """A way to lay out a data set on disk."""

    looks_like: str
    recognises: Callable[[Path], bool]
    #: The splits of a folder of this layout; a folder without splits is opened whole.
    splits: Callable[[Path], tuple[str, ...]]
    open_split: Callable[[Path, str | None], SegmentationData]


LAYOUTS: dict[str, Layout] = {
    layout.NAME: Layout(layout.LOOKS_LIKE, layout.recognises, layout.splits, layout.open_split)
    for layout in (voc, cityscapes, plain)
}


def open_data(root: Path, split: str | None = None) -> SegmentationData:
    """Find the samples of the data set at `root`; no file of it is decoded.

    Without `split`, the only split is opened, or the whole data set if it has no splits.

    Raises:
        DataError: `root` has no known layout, several splits and none is named, or no split of that name; or files are missing.
    """
    layout = _recognise(root)
    names = layout.splits(root)
    if split is None and len(names) > 1:
        raise DataError(f"{root}: has the splits {', '.join(names)}; name one")
    if split is not None and split not in names:
        raise DataError(f"{root}: has no split {split!r}{nearest(split, names)}")
    return layout.open_split(root, split or next(iter(names), None))


def splits(root: Path) -> tuple[str, ...]:
    """Return the names of the splits of the data set at `root`.

    Raises:
        DataError: `root` has no known layout.
    """
    return _recognise(root).splits(root)


def _recognise(root: Path) -> Layout:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    for layout in LAYOUTS.values():
        if layout.recognises(root):
            return layout
    known = "\n".join(f"  {name}: {layout.looks_like}" for name, layout in LAYOUTS.items())
    raise DataError(f"{root}: has none of the known layouts, which are\n{known}")
