"""`npz`: NumPy arrays of labels and class probabilities, for `numpy.load`."""

import io
import zipfile

import numpy as np
import numpy.typing as npt

from handler.answers.response import EncodedResponse
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, ModelIdentity

CONTENT_TYPE = "application/x-npz"
_PROBABILITY = np.float16


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode `label_map` H×W, `probabilities` float16 C×h×w on the network's grid, `classes`, `palette` C×3 and `model`.

    No array is a pickle, so `numpy.load` needs no `allow_pickle`.
    """
    del options
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # Labels compress to a hundredth of their size; probabilities hardly compress and would take long.
        _add(archive, "label_map", result.label_map, zipfile.ZIP_DEFLATED)
        _add(archive, "probabilities", result.probabilities.astype(_PROBABILITY), zipfile.ZIP_STORED)
        _add(archive, "classes", np.array(result.labels.names), zipfile.ZIP_DEFLATED)
        _add(archive, "palette", np.array(result.labels.palette, np.uint8), zipfile.ZIP_DEFLATED)
        _add(archive, "model", np.array([model.name, model.version]), zipfile.ZIP_DEFLATED)
    return EncodedResponse(file.getvalue(), CONTENT_TYPE)


def min_bytes(_: int, probabilities: int) -> int:
    """Return the bytes of the uncompressed probabilities, a lower bound on the answer's bytes."""
    return probabilities * np.dtype(_PROBABILITY).itemsize


def _add(archive: zipfile.ZipFile, name: str, array: npt.NDArray[np.generic], compression: int) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy")  # Its time is fixed, so equal arrays have equal bytes.
    entry.compress_type = compression
    with archive.open(entry, "w") as target:
        np.lib.format.write_array(target, array, allow_pickle=False)  # type: ignore[no-untyped-call, unused-ignore]
