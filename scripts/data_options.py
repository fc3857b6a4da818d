"""The command-line options that name a data set, alike in all programs."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any

from scripts.arguments import existing_folder, existing_path

if TYPE_CHECKING:
    from scripts.datasets import DataSource


def add_data_options(parser: ArgumentParser, *, purpose: str, **keywords: Any) -> None:
    """Add `--data` for data that serve `purpose`, `--images` and `--mask-values`; `keywords` are those of `--data`."""
    layouts = "folder in the layout of VOC, Cityscapes, COCO or images/ + masks/, a COCO JSON file or a YAML file"
    parser.add_argument(
        "--data", type=existing_path, metavar="PATH", help=f"{purpose}: {layouts} (docs/training-data.md)", **keywords
    )
    parser.add_argument(
        "--images", type=existing_folder, metavar="DIR", help="photographs of the data, if not where the layout has them"
    )
    parser.add_argument(
        "--mask-values",
        type=mask_values,
        metavar="N=CLASS,...",
        help="what values of the masks stand for, such as 255=roof,9=ignore; the others are class indices, and 255 is ignored",
    )


def data_source(arguments: Namespace) -> "DataSource":
    """Return the source that the command line names by `--data`, `--images` and `--mask-values`.

    Raises:
        ConfigurationError: `--data` is a YAML file with a wrong key or value.
    """
    # Not at the top: GDAL and the rest, for which --help need not wait.
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
