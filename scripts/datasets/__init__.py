"""Open data sets on disk: one module per layout, one registry."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.strict import name_hint
from scripts.datasets import cityscapes, coco, plain, voc
from scripts.datasets.check import DataSummary, check, describe_absence
from scripts.datasets.data import Mask, SegmentationData
from scripts.datasets.errors import DataError
from scripts.datasets.masks import VOID, Sample
from scripts.datasets.source import DataSource

__all__ = [
    "LAYOUTS",
    "VOID",
    "DataError",
    "DataSource",
    "DataSummary",
    "Layout",
    "Mask",
    "Sample",
    "SegmentationData",
    "check",
    "describe_absence",
    "is_data_set",
    "open_data",
    "splits",
]


@dataclass(frozen=True)
class Layout:
    """A layout of a data set on disk."""

    name: str
    arrangement: str
    recognises: Callable[[DataSource], bool]
    #: Returns the splits of a data set in this layout; a data set without splits is opened whole.
    splits: Callable[[DataSource], tuple[str, ...]]
    open_split: Callable[[DataSource, str | None, tuple[str, ...] | None], SegmentationData]


#: Layouts by lower-case name; the first that recognises a folder opens it.
LAYOUTS: dict[str, Layout] = {
    layout.NAME.casefold(): Layout(layout.NAME, layout.ARRANGEMENT, layout.recognises, layout.splits, layout.open_split)
    for layout in (voc, cityscapes, plain, coco)
}


def open_data(data: Path | DataSource, split: str | None = None, *, classes: tuple[str, ...] | None = None) -> SegmentationData:
    """Find a data set's samples without decoding any image file.

    Without `split`, the only split is opened, or the whole data set if it has no splits.

    Args:
        data: the data set's folder, or a source with more details.
        classes: the caller's class names. Masks that name their classes (colours, COCO's categories) get indices into these;
            masks of indices keep their own.

    Raises:
        DataError: `data` has no known layout, has several splits and none was named, or has no split of that name; or
            files are missing.
    """
    source = _source(data)
    layout = _recognise(source)
    names = layout.splits(source)
    if split is None and len(names) > 1:
        raise DataError(f"{source.folder}: has the splits {', '.join(names)}; name one")
    if split is not None and split not in names:
        raise DataError(f"{source.folder}: has no split {split!r}{name_hint(split, names)}")
    return layout.open_split(source, split or next(iter(names), None), classes)


def splits(data: Path | DataSource) -> tuple[str, ...]:
    """Return the names of the splits of a data set.

    Raises:
        DataError: the data set has no known layout.
    """
    source = _source(data)
    return _recognise(source).splits(source)


def is_data_set(folder: Path) -> bool:
    """Return whether a folder has the layout of a data set."""
    return any(layout.recognises(DataSource(folder=folder)) for layout in LAYOUTS.values())


def _source(data: Path | DataSource) -> DataSource:
    return data if isinstance(data, DataSource) else DataSource.open(data)


def _recognise(source: DataSource) -> Layout:
    if not source.folder.is_dir():
        fault = (
            "is a file; give a folder, a COCO annotation file (.json) or a YAML file"
            if source.folder.exists()
            else "no such folder"
        )
        raise DataError(f"{source.folder}: {fault}")
    if source.layout is not None and source.layout not in LAYOUTS:
        raise DataError(f"layout {source.layout!r}: is unknown{name_hint(source.layout, LAYOUTS)}")
    candidates = LAYOUTS.values() if source.layout is None else [LAYOUTS[source.layout]]
    for layout in candidates:
        if layout.recognises(source):
            return layout
    layouts = "\n".join(f"  {layout.name}: {layout.arrangement}" for layout in candidates)
    raise DataError(f"{source.folder}: has none of the known layouts, which are\n{layouts}")
