"""Prove that a model archive is self-contained: extracted elsewhere, it imports its own modules and segments an image.

python -m scripts.verify_archive build/model-store/deeplabv3.mar
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from handler.digest import content_digest
from scripts.arguments import Parser, existing_file
from scripts.errors import UserError, report_errors

ROOT = Path(__file__).parent.parent
#: Relative to the repository.
PROBE = Path("scripts", "archive_probe.py")


class ArchiveError(UserError):
    """An archive does not work by itself."""


def verify(archive: Path) -> str:
    """Load `archive` with TorchServe's own loader, in a process that cannot import from this repository, and segment an image.

    Returns:
        A sentence that describes the result.

    Raises:
        ArchiveError: the archive does not work; the message ends with the process's output.
    """
    if not zipfile.is_zipfile(archive):
        raise ArchiveError(f"{archive}: not a model archive (a zip file)")
    with tempfile.TemporaryDirectory(prefix="deeplab-verify-") as folder:
        with zipfile.ZipFile(archive) as source:
            source.extractall(folder)
        digest = content_digest(Path(folder))
        # -I keeps PYTHONPATH, the current folder and the script's folder off the import path.
        command = [sys.executable, "-I", str(ROOT / PROBE), folder]
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if result.returncode != 0:
            raise ArchiveError(f"{archive}: does not work by itself\n{result.stderr[-4000:]}")
        outcome = json.loads(result.stdout.splitlines()[-1])
    sentence = f"{outcome['entry']} segments a {outcome['size']} image into {outcome['classes']} class names by itself"
    return f"{sentence}; sha256 of its contents, as the server's description gives it: {digest}"


@report_errors
def main(argv: list[str] | None = None) -> int:
    parser = Parser("python -m scripts.verify_archive", __doc__)
    parser.add_argument("archive", type=existing_file, help="a .mar file")
    print(verify(parser.parse_args(argv).archive))
    return 0


if __name__ == "__main__":
    sys.exit(main())
