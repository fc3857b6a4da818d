"""Convert weights from other projects into a checkpoint that can be served.

python -m scripts.import_weights torchvision:deeplabv3_resnet101
python -m scripts.import_weights my.pth --arch deeplabv3plus_timm:xception65 --separable --classes names.txt
python -m scripts.import_weights FOLDER_OF_SAVE_PRETRAINED --classes names.txt
python -m scripts.import_weights checkpoint.safetensors --classes names.txt --reinitialize-classifier --out start.safetensors
"""

import sys
from argparse import BooleanOptionalAction
from pathlib import Path
from typing import Any

from model import ARCHITECTURES
from scripts.arguments import Parser, positive_int
from scripts.errors import report_errors
from scripts.import_weights.torchvision_models import SCHEME, TORCHVISION_MODELS


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    # Not at the top: the import takes seconds, and wrong options should be reported at once.
    from scripts.import_weights.command import run_command

    run_command(arguments)
    return 0


def _parser() -> Parser:
    parser = Parser("python -m scripts.import_weights", __doc__)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=f"{SCHEME}NAME ({', '.join(TORCHVISION_MODELS)}); a folder written by segmentation_models.pytorch's "
        "save_pretrained; a state dict (.pth, .safetensors); or a checkpoint, to give it other classes",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="checkpoint to write (build/checkpoints/SOURCE.safetensors)")
    parser.add_argument(
        "--classes", metavar="FILE|NAMES", help="class names: a file (one per line, or index_to_name.json), or a,b,c"
    )
    parser.add_argument(
        "--reinitialize-classifier", action="store_true", help="replace the classifier layers by untrained ones for --classes"
    )
    for name in ("mean", "std"):
        text = f"{name} of each channel on 0..1 (the source's, or ImageNet's)"
        parser.add_argument(f"--{name}", type=float, nargs=3, metavar=tuple("RGB"), help=text)
    parser.add_argument("--resize", type=positive_int, metavar="PIXELS", help="length of --resize-side (the source's, or 520)")
    parser.add_argument("--resize-side", choices=("short", "long"), help="side that is resized (the source's, or short)")
    parser.add_argument("--provenance", metavar="TEXT", help="where the weights come from")
    parser.add_argument("--license", metavar="TEXT", help="licence of the weights")
    _add_network_options(parser.add_argument_group("for a state dict"))
    return parser


def _add_network_options(group: Any) -> None:
    group.add_argument(
        "--arch",
        metavar="ARCHITECTURE_BACKBONE",
        help=f"one of {', '.join(ARCHITECTURES)}, over a backbone of docs/models.md or timm:NAME (after smp_: the name of an "
        "encoder); for example deeplabv3plus_timm:xception65",
    )
    group.add_argument("--key", help="which weights to take, where a file holds several (such as model and ema)")
    group.add_argument("--output-stride", type=int, choices=(8, 16), help="instead of the architecture's usual one")
    text = "rates of ASPP, if not the usual ones; without a number: no atrous branches"
    group.add_argument("--atrous-rates", type=positive_int, nargs="*", metavar="N", help=text)
    group.add_argument("--multi-grid", type=positive_int, nargs="+", metavar="N", help="dilations of a ResNet's last units")
    group.add_argument("--separable", action=BooleanOptionalAction, help="depthwise separable 3×3 convolutions")
    group.add_argument("--low-level-channels", type=positive_int, metavar="N", help="low-level channels of the decoder")
    text = "where the decoder reads them: after a unit of the backbone (usual), or after the depthwise convolution in it"
    group.add_argument("--low-level-tap", choices=("unit", "depthwise"), help=text)
    group.add_argument("--decoder-channels", type=positive_int, metavar="N", help="channels of the decoder's 3×3 convolutions")
    group.add_argument(
        "--head-convolutions", type=int, metavar="N", help="3×3 convolutions before the classifier, if not 1 or 2"
    )
    group.add_argument("--aspp-channels", type=positive_int, metavar="N", help="channels of ASPP, if not 256")
    group.add_argument("--aspp-fusion", type=int, choices=(1, 3), help="size of the convolution that fuses ASPP, if not 1")
    group.add_argument("--align-corners", action="store_true", default=None, help="interpolate with aligned corners")
    text = "interpolate as TensorFlow 1 does by default"
    group.add_argument("--legacy-resize", action="store_true", default=None, help=text)
    text = "strides at which the backbone pads as TensorFlow's SAME does at even sizes"
    group.add_argument("--trailing-padding", type=int, choices=(2, 4, 8, 16), nargs="+", metavar="N", help=text)


if __name__ == "__main__":
    sys.exit(main())
