"""The two published networks as networks of this project: exactly as published, and as trained here.

Their files contain convolutions with biases, with batch normalizations folded in, under these keys:

- scenes: `features.*` (torchvision's MobileNetV2), `aspp_conv1x1.0`, `aspp_pooling.0`, `project.0` over their concatenation
  (pooling first), `low_level.0`, `decoder.0` to `decoder.3`, `classifier`;
- streets: `stem`, `blocks.N.{expand,depthwise,project}`, `head`, `aspp_conv1x1.0`, `aspp_pooling.0`, `project.0`, `classifier`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model import ModelConfig, Network, build_model, load_state_dict
from model.checkpoint_file import CheckpointError
from model.metadata import Colour, Normalization
from tools.scenes_and_streets.start_states import saturation_matrix, start_scenes, start_streets

#: The epsilon that a batch normalization adds to the variance; see `unfold`.
_EPSILON = nn.BatchNorm2d(1).eps
_EVERY_STRIDE = (2, 4, 8, 16)


@dataclass(frozen=True)
class PublishedNetwork:
    """One of the published networks, and the model trained from it."""

    #: The network as published, with its own interpolation and padding.
    published: ModelConfig
    #: The network to train, with half-pixel centres and any input size.
    trained: ModelConfig
    normalization: Normalization
    #: Side of the square images that it was published for.
    side: int
    #: Whether photographs are resized to fit into this square and padded with the mean colour.
    fills_square: bool
    #: Longer side of the images that it labels.
    labelled_side: int
    #: Maps the file's layer names (regular expressions) to layer names of our networks (replacements).
    layers: Mapping[str, str]
    #: The number of leading outputs in the file that were never trained, and are dropped.
    untrained: int
    #: Converts the published state into the one that training starts from.
    start_state: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    #: Returns the 3×3 matrix applied to the colours of the teacher's images, or None to keep them.
    teacher_colours: Callable[[], Tensor] | None
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]


def _colours(text: str) -> tuple[Colour, ...]:
    return tuple((int(word[:2], 16), int(word[2:4], 16), int(word[4:], 16)) for word in text.split())


_SCENES = ModelConfig(
    architecture="deeplabv3plus",
    backbone="mobilenet_v2",
    num_classes=31,
    output_stride=16,
    atrous_rates=(),
    separable=True,
    low_level_tap="depthwise",
    trailing_padding=_EVERY_STRIDE,
)
_STREETS = ModelConfig(
    architecture="deeplabv3",
    backbone="mobilenet_edgetpu_075",
    num_classes=19,
    output_stride=16,
    atrous_rates=(),
    head_convolutions=0,
    aspp_channels=128,
)

PUBLISHED = {
    "scenes": PublishedNetwork(
        published=_SCENES.model_copy(update={"legacy_resize": True}),
        trained=_SCENES,
        normalization=Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        side=512,
        fills_square=True,
        labelled_side=512,
        layers={
            r"features\.0\.0": r"backbone.0.0 backbone.0.1",
            r"features\.1\.conv\.1": r"backbone.1.conv.1 backbone.1.conv.2",
            r"features\.(\d+)\.conv\.(\d)\.0": r"backbone.\1.conv.\2.0 backbone.\1.conv.\2.1",
            r"features\.(\d+)\.conv\.2": r"backbone.\1.conv.2 backbone.\1.conv.3",
            r"aspp_conv1x1\.0": r"classifier.aspp.convs.0.0 classifier.aspp.convs.0.1",
            r"aspp_pooling\.0": r"classifier.aspp.convs.1.1 classifier.aspp.convs.1.2",
            r"project\.0": r"classifier.aspp.project.0 classifier.aspp.project.1",
            r"low_level\.0": r"classifier.low_level.0 classifier.low_level.1",
            r"decoder\.0": r"classifier.refine.0.0 classifier.refine.0.1",
            r"decoder\.1": r"classifier.refine.0.3 classifier.refine.0.4",
            r"decoder\.2": r"classifier.refine.1.0 classifier.refine.1.1",
            r"decoder\.3": r"classifier.refine.1.3 classifier.refine.1.4",
            r"classifier": r"classifier.classifier",
        },
        untrained=1,
        start_state=start_scenes,
        teacher_colours=None,
        classes=(
            *("wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet"),
            *("sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water"),
            *("painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair"),
        ),
        palette=_colours(
            "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 ff0652 "
            "8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6"
        ),
    ),
    "streets": PublishedNetwork(
        published=_STREETS.model_copy(update={"align_corners": True}),
        trained=_STREETS.model_copy(update={"trailing_padding": (16,)}),
        normalization=Normalization(mean=(128 / 255,) * 3, std=(128 / 255,) * 3),
        side=513,
        fills_square=False,
        labelled_side=769,
        layers={
            r"(stem|head)": r"backbone.\1.0 backbone.\1.1",
            r"blocks\.0\.project": r"backbone.blocks.0.0 backbone.blocks.0.1",
            r"blocks\.(\d+)\.(expand|depthwise|project)": r"backbone.blocks.\1.\2.0 backbone.blocks.\1.\2.1",
            r"aspp_conv1x1\.0": r"classifier.0.convs.0.0 classifier.0.convs.0.1",
            r"aspp_pooling\.0": r"classifier.0.convs.1.1 classifier.0.convs.1.2",
            r"project\.0": r"classifier.0.project.0 classifier.0.project.1",
            r"classifier": r"classifier.1",
        },
        untrained=0,
        start_state=start_streets,
        teacher_colours=saturation_matrix,
        classes=(
            *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
            *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
        ),
        palette=_colours(
            "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046 003c64 "
            "005064 0000e6 770b20"
        ),
    ),
}


def read_published(path: Path, network: PublishedNetwork) -> dict[str, Tensor]:
    """Read the published file at `path` as the state of one of our networks, with batch normalizations unfolded.

    Raises:
        CheckpointError: the file is not a safetensors file, or has other layers.
    """
    try:
        folded = load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error
    state: dict[str, Tensor] = {}
    for layer in sorted({key.rpartition(".")[0] for key in folded}):
        weight, bias = (folded[f"{layer}.{name}"].float() for name in ("weight", "bias"))
        if layer == "project.0":
            weight = torch.cat(list(weight.chunk(2, dim=1))[::-1], dim=1)  # In our networks the pooling comes last.
        if layer == "classifier":
            weight, bias = weight[network.untrained :], bias[network.untrained :]
        state |= unfold(weight, bias, *_names(layer, network, path).split())
    return state


def unfold(weight: Tensor, bias: Tensor, convolution: str, normalization: str | None = None) -> dict[str, Tensor]:
    """Split a convolution with a bias into one without and a batch normalization that adds the bias."""
    if normalization is None:
        return {f"{convolution}.weight": weight, f"{convolution}.bias": bias}
    return {
        f"{convolution}.weight": weight,
        f"{normalization}.weight": torch.ones_like(bias),
        f"{normalization}.bias": bias,
        f"{normalization}.running_mean": torch.zeros_like(bias),
        f"{normalization}.running_var": torch.full_like(bias, 1 - _EPSILON),
        f"{normalization}.num_batches_tracked": torch.tensor(0),
    }


def build_published(path: Path, network: PublishedNetwork) -> Network:
    """Return the published network, with the weights at `path`, in evaluation mode.

    Raises:
        CheckpointError: the file cannot be read, or has other layers.
    """
    model = build_model(network.published)
    load_state_dict(model, read_published(path, network), source=str(path))
    return model.eval()


def _names(layer: str, network: PublishedNetwork, path: Path) -> str:
    """Return the names of the convolution and, if it has one, its batch normalization, separated by a space."""
    for pattern, names in network.layers.items():
        if match := re.fullmatch(pattern, layer):
            return match.expand(names)
    raise CheckpointError(f"{path}: has a layer {layer!r}, which this network does not have")
