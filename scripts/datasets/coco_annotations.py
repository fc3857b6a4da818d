"""Read COCO's JSON: each image's shapes, and the classes they are drawn as."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from handler.labels import BACKGROUND
from scripts.class_names import canonical_name
from scripts.datasets.errors import DataError, list_some
from scripts.datasets.masks import VOID, class_index
from scripts.datasets.pairs import list_lines
from scripts.text_file import read_text

#: Three points; a point or a line has no area.
_MIN_COORDINATES = 6
_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Shape:
    """The area of an annotation, as COCO's compressed run lengths."""

    index: int
    counts: bytes
    area: int


@dataclass(frozen=True)
class AnnotationFile:
    """The content of an annotation file."""

    path: Path
    #: Image entries by image id.
    images: Mapping[Any, Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]
    #: Names by category id, in id order.
    categories: Mapping[int, str]

    @classmethod
    def read(cls, path: Path) -> "AnnotationFile":
        """Read the file at `path`.

        Raises:
            DataError: the file is not in COCO's JSON format.
        """
        try:
            content = json.loads(read_text(path))
            images, annotations, categories = (content[name] for name in _LISTS)
            names = {int(category["id"]): canonical_name(str(category["name"])) for category in categories}
            by_id = {image["id"]: image for image in images if str(image["file_name"])}
            file = cls(path, by_id, annotations, dict(sorted(names.items())))
            file._require_references()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problem = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path}: is not COCO's JSON, with the lists {', '.join(_LISTS)}: {problem}") from error
        if len(file.images) < len(images) or len(names) < len(categories):
            raise DataError(f"{path}: ids of images or categories occur more than once")
        return file._without_super_categories(categories)

    def class_names(self) -> tuple[str, ...]:
        """Return background, then the other categories in id order.

        Raises:
            DataError: two categories have the same name.
        """
        names = [name for name in self.categories.values() if name != BACKGROUND]
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{self.path}: several categories are named {list_some(repeated)}; give each its own name")
        return (BACKGROUND, *names)

    def category_indices(self, classes: Sequence[str]) -> dict[int, int]:
        """Return the class index of each category that has annotations.

        Raises:
            DataError: such a category is not among `classes`.
        """
        used = Counter(annotation["category_id"] for annotation in self.annotations)
        indices = {category: class_index(self.categories[category], classes) for category in used}
        unknown = [f"{self.categories[c]!r} ({used[c]:,} annotations)" for c, index in indices.items() if index is None]
        if unknown:
            raise DataError(f"{self.path}: the categories {list_some(unknown)} are none of the classes {list_some(classes)}")
        return {category: index for category, index in indices.items() if index is not None}

    def shapes(self, indices: Mapping[int, int], sizes: Mapping[Any, tuple[int, int]]) -> dict[Any, tuple[Shape, ...]]:
        """Return each image's shapes in drawing order.

        Crowds, which are void, come first, then the others from large to small, so that small shapes end up on top; among
        shapes of equal size, the later one does.

        Args:
            indices: class indices by category id.
            sizes: (height, width) by image id.

        Raises:
            DataError: annotations have no usable segmentation; the message counts them.
        """
        shapes_by_image: dict[Any, list[Shape]] = {image: [] for image in self.images}
        faults = []
        for annotation in self.annotations:
            image = annotation["image_id"]
            try:
                counts = encode(annotation.get("segmentation"), *sizes[image])
            except (ValueError, TypeError, KeyError) as error:
                faults.append(f"annotation {annotation.get('id')} of {self.images[image]['file_name']}: {error}")
                continue
            index = VOID if annotation.get("iscrowd") else indices[annotation["category_id"]]
            shapes_by_image[image].append(Shape(index, counts, int(coco_mask.area({"size": sizes[image], "counts": counts}))))
        if faults:
            raise DataError(
                f"{self.path}: {len(faults):,} of {len(self.annotations):,} annotations cannot be drawn:\n{list_lines(faults)}"
            )
        return {image: tuple(sorted(shapes, key=_draw_order)) for image, shapes in shapes_by_image.items()}

    def _require_references(self) -> None:
        """
        Raises:
            DataError: annotations refer to images or categories that are not listed.
        """
        for key, entries in (("image_id", self.images), ("category_id", self.categories)):
            if dangling := [annotation for annotation in self.annotations if annotation[key] not in entries]:
                problem = f"{len(dangling):,} of {len(self.annotations):,} annotations have an id that is not in the file"
                raise DataError(f"{self.path}: {problem}, such as {key} {dangling[0][key]!r}")

    def _without_super_categories(self, categories: Iterable[Mapping[str, Any]]) -> "AnnotationFile":
        """Leave out unused categories that only group others, such as the one that Roboflow writes."""
        groups = {c.get("supercategory") for c in categories if c.get("supercategory") != c["name"]}
        used = {annotation["category_id"] for annotation in self.annotations}
        remaining = {id_: name for id_, name in self.categories.items() if id_ in used or name not in groups}
        return AnnotationFile(self.path, self.images, self.annotations, remaining)


def encode(segmentation: Any, height: int, width: int) -> bytes:
    """Convert a segmentation (polygons, or run lengths, compressed or not) to compressed run lengths.

    Raises:
        ValueError: the segmentation is none of these, or has another size.
    """
    if isinstance(segmentation, dict):
        return _encode_run_lengths(segmentation, height, width)
    if not segmentation or not isinstance(segmentation, list):
        raise ValueError("has no segmentation; boxes alone do not say which pixels are covered")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    # pycocotools would interpret four numbers as a box.
    areas = [_coordinates(polygon) for polygon in polygons if len(polygon) >= _MIN_COORDINATES]
    encoded = [coco_mask.frPyObjects([polygon], height, width)[0] for polygon in areas]
    if not encoded:
        raise ValueError("has no polygon of three points or more")
    counts: bytes = coco_mask.merge(encoded)["counts"]
    return counts


def decode(counts: bytes) -> npt.NDArray[np.int64]:
    """Decode compressed run lengths to numbers: alternating counts of pixels outside and inside, column by column.

    pycocotools decodes to whole images: 1,000 small shapes on 16 megapixels would take 30 s; drawing runs takes 0.5 s.

    Raises:
        ValueError: the text is truncated or holds other characters.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(codes & 32 == 0)
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("has compressed run lengths that are cut off or hold other characters")
    starts = np.concatenate([[0], last[:-1] + 1])
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, last - starts + 1))
    numbers = np.add.reduceat((codes & 31) << shifts, starts)
    numbers -= np.where(codes[last] & 16, np.int64(1) << (shifts[last] + 5), 0)
    # From the fourth on, each number is the difference from the number two places before.
    for begin in (1, 2):
        numbers[begin::2] = np.cumsum(numbers[begin::2])
    return numbers


def draw(shapes: Iterable[Shape], height: int, width: int, background: int) -> npt.NDArray[np.uint8]:
    """Draw shapes in order onto `background`; return the mask, uint8 H×W."""
    flat = np.full(height * width, background, np.uint8)
    for shape in shapes:
        counts = decode(shape.counts)
        starts, lengths = np.cumsum(counts)[:-1:2], counts[1::2]
        lengths_before = np.cumsum(lengths) - lengths
        flat[np.arange(lengths.sum()) + np.repeat(starts - lengths_before, lengths)] = shape.index
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _encode_run_lengths(segmentation: Mapping[str, Any], height: int, width: int) -> bytes:
    size, counts = list(segmentation["size"]), segmentation["counts"]
    if size != [height, width]:
        raise ValueError(f"is for (height, width) {tuple(size)}, its image has {(height, width)}")
    numbers = decode(counts.encode()) if isinstance(counts, str) else np.array(counts, np.int64)
    if (numbers < 0).any() or numbers.sum() != height * width:
        raise ValueError(f"has run lengths that cover {numbers.sum():,} pixels, its image has {height * width:,}")
    if isinstance(counts, str):
        return counts.encode()
    encoded: bytes = coco_mask.frPyObjects({"size": size, "counts": numbers.tolist()}, height, width)["counts"]
    return encoded


def _coordinates(polygon: Sequence[Any]) -> list[float]:
    numbers = np.array(polygon, np.float64)
    if numbers.ndim != 1 or len(numbers) % 2 or not np.isfinite(numbers).all():
        raise ValueError(f"has a polygon of {len(polygon)} values; these must alternate x and y")
    return [float(number) for number in numbers]


def _draw_order(shape: Shape) -> tuple[bool, int]:
    return shape.index != VOID, -shape.area
