"""Every input, however broken, is parsed or decoded, or raises a documented error."""

from typing import Any

import numpy as np

from handler.errors import SegmentationError
from handler.image.decode import open_image
from handler.labels import Labels
from handler.limits import Limits
from handler.options import ModelIdentity, ReadingOptions, SegmentationRequest
from handler.request.parser import RequestParser
from handler.request.protocols import read_envelope
from handler.servers.torchserve import format_in_url, is_explanation, text_headers
from handler.settings import HandlerSettings
from model.palette import voc_palette
from tests.fuzz.mutations import mutated_files
from tests.fuzz.outcomes import require_documented, require_refusal
from tests.fuzz.recorder import Fuzz
from tests.fuzz.rows import calls
from tests.support import CLASSES

LIMITS = Limits(max_pixels=1_000_000, max_bytes=1_000_000)


def test_any_row_parses_or_raises_a_documented_error(fuzz: Fuzz) -> None:
    parser = RequestParser(HandlerSettings(), Labels(CLASSES, voc_palette(len(CLASSES))))

    def check(value: tuple[dict[str, Any], dict[str, Any]]) -> None:
        row, headers = value
        envelope = read_envelope(row, ModelIdentity("m", "1"), text_headers(headers), LIMITS)
        try:
            requests = parser.parse(
                envelope, text_headers(headers), explain=is_explanation(headers), format_name=format_in_url(headers)
            )
        except SegmentationError as error:
            require_documented(error)
            require_refusal(envelope.refuse(error, str(error)))
        else:
            assert requests
            assert all(isinstance(request, SegmentationRequest) for request in requests)

    fuzz.run(0.4, calls(), check)


#: Options tried with each file; the last two send every TIFF to GDAL.
READING_OPTIONS = (ReadingOptions(), ReadingOptions(bands=(1,), range="auto"), ReadingOptions(bands=(3, 1, 2), range=(0, 200)))


def test_any_broken_file_decodes_or_raises_a_documented_error(fuzz: Fuzz) -> None:
    def check(file: bytes) -> None:
        try:
            image = open_image(file, LIMITS, READING_OPTIONS[len(file) % len(READING_OPTIONS)]).decode().pixels
        except SegmentationError as error:
            require_documented(error)
        else:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
            assert 0 < image.size <= 3 * LIMITS.max_pixels

    fuzz.run(0.5, mutated_files(), check)
