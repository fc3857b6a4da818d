"""Retrain the default checkpoint from the published weights, with the recipe next to this file.

python -m tools.default_checkpoint --data VOC_FOLDER --start WEIGHTS --teacher WEIGHTS
"""

import sys
from pathlib import Path

from scripts.train import main as train
from tools.default_checkpoint.published_start import PublishedStartWeights

RECIPE = Path(__file__).parent / "deeplabv3_mobilenet_v2_voc.yaml"


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    # Options given on the command line, such as another --config, take precedence.
    options = ["--config", str(RECIPE), *arguments]
    return train(options, weights=PublishedStartWeights(), program="tools.default_checkpoint")


if __name__ == "__main__":
    sys.exit(main())
