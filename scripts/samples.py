"""Write the sample photographs, which come with scikit-image: `astronaut` (public domain, NASA) and `chelsea` (CC0).

python -m scripts.samples build/samples
"""

import argparse
import sys
from pathlib import Path

from PIL import Image
from skimage import data

NAMES = ("astronaut", "chelsea")


def write_samples(folder: Path) -> list[Path]:
    """Write each photograph as a JPEG into `folder`, unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.jpg" for name in NAMES]
    for name, path in zip(NAMES, paths, strict=True):
        if not path.exists():
            Image.fromarray(getattr(data, name)()).save(path, quality=95)
    return paths


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.samples", description="Write the sample photographs.")
    parser.add_argument("folder", type=Path)
    for path in write_samples(parser.parse_args(argv).folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
