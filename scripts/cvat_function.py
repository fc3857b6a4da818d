"""Annotate a CVAT task with a running server or a local archive: a detection function for cvat-cli, and its labels.

python -m scripts.cvat_function > labels.json
python -m cvat_cli task create TASK-NAME local PHOTOS/*.jpg --labels labels.json
python -m cvat_cli task auto-annotate TASK-ID --function-module scripts.cvat_function -p shape=str:polygon -p tolerance=float:1

The first command prints the labels, for a new task or for CVAT's raw label editor; the last fills a task with masks or
polygons. Its parameters -p NAME=TYPE:VALUE are `url`, `archive`, `shape` and `header` as above (`-p url=str:http://...`), and
the request options, such as `-p scales=str:0.75,1`, `-p components=bool:true` and `-p classes=str:cat,dog`. --conf-threshold
sets the option `min_score`. For a task with only some of the labels, set `classes` or add --allow-unmatched-labels. An image
that the server refuses is reported and gets no shapes.
"""

import io
import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from urllib3.exceptions import HTTPError

from handler.answers import FORMATS
from handler.errors import SegmentationError
from handler.geometry import RGBImage
from handler.image.decode import convert_image
from handler.masks.polygons import split_at_holes
from scripts.arguments import Parser, existing_file, http_header, http_url, one_of
from scripts.client import DEFAULT_URL, AnswerError, Client, ImageRefused
from scripts.errors import UsageError, UserError, print_warning, report_errors
from scripts.served_labels import FORMAT as LABELS_FORMAT
from scripts.served_labels import blank_image, read_labels

if TYPE_CHECKING:
    import cvat_sdk.auto_annotation as aa
    from cvat_sdk import models

Value = bool | int | float | str
#: Segments an image under request options, including the format; returns the answer's JSON.
Model = Callable[[RGBImage, Mapping[str, Value]], Any]

SHAPES = ("mask", "polygon")
#: Options that this function sets itself, and what users should set instead.
_RESERVED = {"format": "shape", "masks": "shape", "min_score": "--conf-threshold"}
#: The server's limit is 32 million. A photograph whose PNG exceeds this is sent as a JPEG, which changes a few labels.
_MAX_PNG_BYTES = 30_000_000


class FunctionError(UserError, HTTPError):
    """The function cannot annotate. Derives from urllib3's error because cvat-cli prints all others as tracebacks."""


class ParameterError(UsageError, FunctionError):
    """A parameter of the function is wrong."""


class DetectionFunction:
    """The function that `cvat_sdk.auto_annotation` calls: it reads the labels in `spec`, and calls `detect` for each image."""

    def __init__(self, model: Model, shape: str, options: Mapping[str, Value]) -> None:
        """Fetch the model's labels.

        Raises:
            FunctionError: the model cannot be reached, or refuses the options.
        """
        self._model, self._shape, self._options = model, shape, options
        with _convert_errors():
            #: Arguments of `label_spec`.
            self.labels = read_labels(self._segment(blank_image(), {"format": LABELS_FORMAT}))

    @property
    def spec(self) -> "aa.DetectionFunctionSpec":
        import cvat_sdk.auto_annotation as aa

        return aa.DetectionFunctionSpec(labels=[aa.label_spec(**{**label, "type": self._shape}) for label in self.labels])

    def detect(self, context: "aa.DetectionFunctionContext", image: Image.Image) -> "list[models.LabeledShapeRequest]":
        """Return the shapes in `image` that score at least `context.conf_threshold`; warn and return none if it is refused.

        Raises:
            FunctionError: the model fails for a reason unrelated to the image.
        """
        score_options = {} if context.conf_threshold is None else {"min_score": context.conf_threshold}
        find_shapes = self._polygons if self._shape == "polygon" or context.conv_mask_to_poly else self._masks
        with _convert_errors():
            try:
                return find_shapes(image, score_options)
            except (ImageRefused, SegmentationError) as error:
                print_warning(f"{context.frame_name}: {error}")
                return []

    def _masks(self, image: Image.Image, score_options: Mapping[str, Value]) -> "list[models.LabeledShapeRequest]":
        from cvat_sdk import models

        answer = self._segment(image, {"format": "cvat", **score_options})
        return [models.LabeledShapeRequest(**shape) for shape in answer["shapes"]]

    def _polygons(self, image: Image.Image, score_options: Mapping[str, Value]) -> "list[models.LabeledShapeRequest]":
        import cvat_sdk.auto_annotation as aa

        label_ids = {label["id"] for label in self.labels}
        answer = self._segment(image, {"format": "json", "masks": "polygons", **score_options})
        return [
            aa.polygon(segment["index"], ring[:-1].ravel().tolist(), score=segment["score"])
            for segment in answer["segments"]
            if segment["index"] in label_ids  # Background is not.
            for part in segment["mask"]["polygons"]
            for ring in split_at_holes(part)
        ]

    def _segment(self, image: Image.Image, options: Mapping[str, Value]) -> Any:
        stored = image.copy()
        # CVAT's coordinates refer to the pixels as stored, whatever orientation the file declares.
        stored.info.pop("exif", None)
        return self._model(convert_image(stored), {**self._options, **options})


def create(url: str = "", archive: str = "", shape: str = "mask", header: str = "", **options: Value) -> DetectionFunction:
    """Create the function; cvat-cli calls this with the parameters of its command line.

    Args:
        url: URL of a model's predictions on a running server; without `url` and `archive`, that of `make serve`.
        archive: a model archive or checkpoint to run in this process instead.
        shape: "mask" or "polygon".
        header: sent with every request, as "NAME: VALUE".
        options: options of a request, with the names and values of docs/http-api.md.

    Raises:
        ParameterError: a parameter is wrong.
        FunctionError: the model cannot be reached or loaded, or it refuses the options.
    """
    if url and archive:
        raise ParameterError("url and archive are both given; give one")
    for name in options:
        if name.lower() in _RESERVED:
            raise ParameterError(f"{name} is set by this function; use {_RESERVED[name.lower()]}")
    headers = dict([_parse_parameter("header", http_header, header)]) if header else {}
    shape = _parse_parameter("shape", one_of(SHAPES), shape)
    if archive:
        return DetectionFunction(_load_archive(_parse_parameter("archive", existing_file, archive)), shape, options)
    url = _parse_parameter("url", http_url(DEFAULT_URL), url or DEFAULT_URL)
    return DetectionFunction(_connect_server(url, headers), shape, options)


def _connect_server(url: str, headers: Mapping[str, str]) -> Model:
    client = Client(url, headers=headers)
    with _convert_errors():
        client.require_server()

    def segment(pixels: RGBImage, options: Mapping[str, Value]) -> Any:
        content_type = FORMATS[str(options["format"])].content_type
        return json.loads(
            client.segment(_encode(pixels), {name: _text(value) for name, value in options.items()}, content_type)
        )

    return segment


def _load_archive(path: Path) -> Model:
    from handler.segmenter import Segmenter  # Not at the top: it imports the engines.

    with _convert_errors():
        segmenter = Segmenter.load(path)

    def segment(pixels: RGBImage, options: Mapping[str, Value]) -> Any:
        parameters = {name: value for name, value in options.items() if name != "format"}
        return segmenter(pixels, **parameters).to(str(options["format"]))

    return segment


def _encode(pixels: RGBImage) -> bytes:
    """Encode the image as a PNG, or as a JPEG if the PNG would be too large for the server."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    if file.tell() > _MAX_PNG_BYTES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parse_parameter(name: str, parse: Callable[[str], Any], value: Any) -> Any:
    try:
        return parse(str(value))
    except ArgumentTypeError as error:
        raise ParameterError(f"{name}: {error}") from error


@contextmanager
def _convert_errors() -> Iterator[None]:
    """Convert errors meant for the user into the kind that cvat-cli prints without a traceback."""
    from model.checkpoint_file import CheckpointError
    from model.strict import ConfigurationError

    try:
        yield
    except (AnswerError, CheckpointError, ConfigurationError, SegmentationError) as error:
        raise FunctionError(str(error)) from error


@report_errors
def main(argv: list[str] | None = None) -> int:
    """Print the labels as CVAT's label editor expects them."""
    parser = Parser("python -m scripts.cvat_function", __doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--url", default="", help=f"a model's predictions at a running server ({DEFAULT_URL})")
    source.add_argument("--archive", default="", metavar="FILE", help="a model archive or checkpoint to run instead")
    parser.add_argument("--shape", default="mask", metavar="NAME", help=f"{' or '.join(SHAPES)} (%(default)s)")
    parser.add_argument("--header", default="", metavar="'NAME: VALUE'", help="sent with every request, such as a key")
    parser.add_argument("--classes", metavar="NAMES", help="only these labels, as cat,dog; then add -p classes=str:cat,dog too")
    arguments = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    function = create(**arguments)
    labels = ({"name": label["name"], "color": label["color"], "type": arguments["shape"]} for label in function.labels)
    print(json.dumps([{**label, "attributes": []} for label in labels], ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
