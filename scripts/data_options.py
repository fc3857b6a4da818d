"""The command-line options that name a data set, the same in all programs."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any

from scripts.arguments import existing_folder, existing_path

if TYPE_CHECKING:
    from scripts.datasets import DataSource


def add_data_options(parser: ArgumentParser, *, purpose: str, **keywords: Any) -> None:
    """Add `--data`, `--images` and `--mask-values`; `purpose` and `keywords` are for `--data`."""
    layouts = "folder in the layout of VOC, Cityscapes, COCO or images/ + masks/, a COCO JSON file or a YAML file"
    parser.add_argument(
        "--data", type=existing_path, metavar="PATH", help=f"{purpose}: {layouts} (docs/training-data.md)", **keywords
    )
    parser.add_argument(
        "--images", type=existing_folder, metavar="DIR", help="photographs of the data, if the layout has them elsewhere"
    )
    parser.add_argument(
        "--mask-values",
        type=mask_values,
        metavar="N=CLASS,...",
        help="classes that mask values stand for, such as 255=roof,9=ignore; others are class indices, and 255 is ignored",
    )


def data_source(arguments: Namespace) -> "DataSource":
    """Return the source that `--data`, `--images` and `--mask-values` describe.

    Raises:
        ConfigurationError: `--data` is a YAML file with a wrong key or value.
    """
    # Not at the top: it imports GDAL and more, which --help should not wait for.
    from scripts.datasets import DataSource

    return DataSource.open(arguments.data).with_options(arguments.images, arguments.mask_values)


def mask_values(text: str) -> dict[int, int | str]:
    """Parse the value of `--mask-values`.

    Raises:
        ArgumentTypeError: it is not of the form `255=roof,9=ignore`.
    """
    meanings: dict[int, int | str] = {}
    for entry in text.split(","):
        value, _, meaning = (part.strip() for part in entry.partition("="))
        try:
            meanings[int(value)] = int(meaning) if meaning.lstrip("-").isdecimal() else meaning
        except ValueError:
            meaning = ""
        if not meaning:
            raise ArgumentTypeError(f"{entry!r} must be a mask's value and its class, such as 255=roof")
    return meanings
