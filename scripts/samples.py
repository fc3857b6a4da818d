"""Write sample photographs from scikit-image, or from this repository (photographs/README.md names their authors).

python -m scripts.samples build/samples
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import skimage
from PIL import Image

from scripts.arguments import Parser
from scripts.errors import report_errors

#: From scikit-image: `astronaut` (public domain, NASA) and `chelsea` (CC0).
NAMES = ("astronaut", "chelsea")
#: Photographs in this repository that suit a model, by model name. Other models get `NAMES`.
NAMES_BY_MODEL = {"scenes": ("temple",), "streets": ("street",)}
#: Every photograph of an everyday scene in scikit-image, for comparing engines.
ALL = (*NAMES, "camera", "coffee", "motorcycle_left", "motorcycle_right", "rocket")
_PHOTOGRAPHS = Path(__file__).parent / "photographs"


def write_samples(folder: Path, names: Sequence[str] = NAMES) -> list[Path]:
    """Write each photograph into `folder` as a JPEG unless it exists; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.jpg" for name in names]
    for name, path in zip(names, paths, strict=True):
        if not path.exists():
            if (bundled := _PHOTOGRAPHS / f"{name}.jpg").exists():
                shutil.copyfile(bundled, path)
                continue
            (source,) = (Path(skimage.__file__).parent / "data").glob(f"{name}.*")
            with Image.open(source) as photograph:
                photograph.save(path, quality=95)
    return paths


@report_errors
def main(argv: list[str] | None = None) -> int:
    parser = Parser("python -m scripts.samples", __doc__)
    parser.add_argument("folder", type=Path, help="created if it does not exist")
    for path in write_samples(parser.parse_args(argv).folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
