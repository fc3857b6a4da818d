"""Merge the answers to all images into one data set: a COCO file, or a Parquet file with a row for each image."""

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.bulk.destinations import Destination
from scripts.bulk.errors import BulkError
from scripts.bulk.manifest import list_answers
from scripts.segment.concurrency import map_ordered

#: The format of the answers from which data sets are made.
FORMAT = "coco"
_CONCURRENT_READS = 16
_ROWS = 1024

_ANNOTATION = pa.struct(
    [
        ("category_id", pa.int32()),
        ("category", pa.string()),
        ("bbox", pa.list_(pa.int32(), 4)),
        ("area", pa.int64()),
        ("score", pa.float32()),
        ("counts", pa.string()),
    ]
)
_SCHEMA = pa.schema(
    [
        ("file_name", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("annotations", pa.list_(_ANNOTATION)),
    ]
)


def merge_answers(kind: str, destination: Destination, position: int) -> str:
    """Write the data set of all images in the manifest and return its name in the destination.

    Args:
        kind: a key of `MERGERS`.
        destination: holds the answers.
        position: index of the COCO answer among an image's answers.

    Raises:
        BulkError: an answer is missing or cannot be read, or the data set cannot be written.
    """
    name, write = MERGERS[kind]
    with tempfile.TemporaryDirectory(prefix="deeplab-bulk-") as folder:
        path = Path(folder, name)
        write(path, _answers(destination, position))
        destination.write_from(name, path)
    return name


def _answers(destination: Destination, position: int) -> Iterator[dict[str, Any]]:
    """Yield each image's COCO file, with the image's name as its `file_name`."""
    rows = list_answers(destination)
    yield from map_ordered(partial(_read_answer, destination, position), rows, _CONCURRENT_READS)


def _read_answer(destination: Destination, position: int, row: tuple[str, list[str]]) -> dict[str, Any]:
    name, outputs = row
    try:
        answer: dict[str, Any] = json.loads(destination.read(outputs[position]))
    except (FileNotFoundError, ValueError) as error:
        raise BulkError(f"{destination}/{outputs[position]}: is missing or broken; --overwrite makes it again") from error
    answer["images"][0]["file_name"] = name
    return answer


def _write_coco(path: Path, answers: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file, tempfile.TemporaryFile("w+", encoding="utf-8") as annotations:
        header: dict[str, Any] = {"info": {}, "licenses": []}
        categories: list[Any] = []
        number = 0
        for image_id, answer in enumerate(answers, start=1):
            if image_id == 1:
                header, categories = {key: answer[key] for key in ("info", "licenses")}, answer["categories"]
                file.write(f'{_json(header)[:-1]},"images":[')
            _append(file, answer["images"][0] | {"id": image_id}, is_first=image_id == 1)
            for annotation in answer["annotations"]:
                number += 1
                _append(annotations, annotation | {"id": number, "image_id": image_id}, is_first=number == 1)
        if not categories and not number:
            file.seek(0)
            file.write(f'{_json(header)[:-1]},"images":[')
        file.write('],\n"annotations":[')
        annotations.seek(0)
        while block := annotations.read(1 << 20):
            file.write(block)
        file.write(f'],\n"categories":{_json(categories)}}}\n')


def _append(file: IO[str], item: dict[str, Any], *, is_first: bool) -> None:
    file.write(f"{'' if is_first else ','}\n{_json(item)}")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _write_parquet(path: Path, answers: Iterator[dict[str, Any]]) -> None:
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for answer in answers:
            rows.append(_row(answer))
            if len(rows) == _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))


def _row(answer: dict[str, Any]) -> dict[str, Any]:
    (image,) = answer["images"]
    names = {category["id"]: category["name"] for category in answer["categories"]}
    annotations = [
        {
            **{key: annotation[key] for key in ("category_id", "bbox", "area", "score")},
            "category": names[annotation["category_id"]],
            "counts": annotation["segmentation"]["counts"],
        }
        for annotation in answer["annotations"]
    ]
    return {**{key: image[key] for key in ("file_name", "width", "height")}, "annotations": annotations}


#: The data set's file and the function that writes it, by kind.
MERGERS: dict[str, tuple[str, Callable[[Path, Iterator[dict[str, Any]]], None]]] = {
    "coco": ("dataset.coco.json", _write_coco),
    "parquet": ("dataset.parquet", _write_parquet),
}
