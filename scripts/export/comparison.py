"""Compare an exported file with torch in float32: the fraction of equal labels on photographs of several sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.geometry import DecodedImage, RGBImage, Size, network_size
from handler.labels import Labels
from handler.masks.label_map import make_label_map
from handler.network.engines import reference_engine
from handler.network.engines.archive import MIN_EQUAL_LABELS
from handler.network.engines.base import EngineOptions, Logits, ModelFiles, Pixels
from handler.network.tiling import WHOLE_IMAGE, resize_tile
from model.metadata import CheckpointMetadata
from scripts.export.errors import ExportError

#: Runs an exported file: maps uint8 RGB, B×H×W×3, to labels, B×H×W, and float32 logits, B×classes×h×w.
Run = Callable[[Pixels], tuple[npt.NDArray[Any], Logits]]

MIN_EQUAL = MIN_EQUAL_LABELS["float32"]
#: The smaller sizes to compare, as fractions of the size given by the resize policy.
_SIZE_FACTORS = (0.75, 0.5)


@dataclass
class Comparison:
    """How closely an exported file's labels match those of torch in float32."""

    runtime: str
    equal: int = 0
    pixels: int = 0
    #: Largest absolute difference between logits.
    difference: float = 0.0
    sizes: list[Size] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.equal / self.pixels

    def __str__(self) -> str:
        sizes = ", ".join(f"{height}×{width}" for height, width in dict.fromkeys(self.sizes))
        return (
            f"{self.runtime} in float32 labels {self.share:.4%} of {self.pixels:,} pixels like torch, "
            f"in batches of 2 at {sizes}; logits differ by {self.difference:.1g} at most"
        )

    def require_equal(self) -> None:
        """
        Raises:
            ExportError: too few labels are equal.
        """
        if self.share < MIN_EQUAL:
            raise ExportError(
                f"not written: {self}; should be {MIN_EQUAL:.2%} or more. "
                "Give a photograph like those to be segmented (--image)"
            )


def compare(runtime: str, run: Run, files: ModelFiles, photographs: Sequence[RGBImage]) -> Comparison:
    """Run each photograph and its mirror image as one batch at several sizes, with `run` and with torch.

    Args:
        runtime: name of the runtime that `run` uses.
        run: runs the exported file.
        files: the model.
        photographs: one or more, uint8 RGB H×W×3.
    """
    metadata = files.metadata()
    reference, dtype = reference_engine(files, EngineOptions(precision="float32")), Labels.from_metadata(metadata).dtype
    result = Comparison(runtime)
    for photograph in photographs:
        image = DecodedImage.from_pixels(photograph)
        for size in compared_sizes(metadata, image.size):
            pixels = resize_tile(image, WHOLE_IMAGE, size)
            batch = np.stack([pixels, pixels[:, ::-1]])
            (labels, logits), expected = run(batch), reference.infer(batch)
            for label_map, scores in zip(labels, expected, strict=True):
                result.equal += int((label_map == make_label_map(scores, size, dtype)).sum())
                result.pixels += label_map.size
            result.difference = max(result.difference, float(np.abs(logits - expected).max()))
            result.sizes.append(size)
    return result


def compared_sizes(metadata: CheckpointMetadata, image: Size) -> list[Size]:
    """Return sizes (height, width) to compare for an image of size `image`: the resize policy's, then smaller, odd ones.

    For segmentation_models.pytorch's networks, which only take multiples of their output stride, sides are not odd.
    """
    full_size = network_size(metadata.resize, image)
    step = metadata.model.output_stride

    def smaller(length: int, factor: float) -> int:
        if metadata.model.is_smp:
            return max(1, int(length * factor / step)) * step
        return int(length * factor) | 1

    return [full_size, *((smaller(full_size[0], factor), smaller(full_size[1], factor)) for factor in _SIZE_FACTORS)]
