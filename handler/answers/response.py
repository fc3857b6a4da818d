"""Encoded answers, and helpers that encoders share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.observation import Observation

JSON_TYPE = "application/json"
PNG_TYPE = "image/png"


@dataclass(frozen=True)
class EncodedResponse:
    """The body and content type of an answer, and any requested arrays."""

    #: Empty, like the content type, if only arrays are requested.
    body: bytes
    content_type: str
    arrays: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    #: Statistics of the image and its segmentation; None for an explanation.
    observation: Observation | None = field(default=None, compare=False)

    @property
    def byte_count(self) -> int:
        """The size of the body and all arrays, in bytes."""
        return len(self.body) + sum(array.nbytes for array in self.arrays.values())


def compact_json(value: Any) -> bytes:
    """Encode JSON in UTF-8 without spaces; lone surrogates, which UTF-8 cannot hold, stay escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")


def json_response(answer: Any) -> EncodedResponse:
    """Encode `answer` as compact JSON."""
    return EncodedResponse(compact_json(answer), JSON_TYPE)


def min_png_bytes(pixels: int, _: int) -> int:
    """Return a lower bound on the bytes of a PNG: deflate compresses at most 1032:1 (zlib's "Technical Details")."""
    return pixels // 1032
