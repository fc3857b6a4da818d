"""The `__main__.py` of an archive: `python MODEL.mar` serves it."""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 (an archive may be run with any Python)
        sys.exit("error: this archive needs Python 3.11 or newer; this is " + sys.version.split()[0])
    from pathlib import Path

    from handler.servers.asgi.command import serve_archive

    sys.exit(serve_archive(Path(sys.path[0]), sys.argv[1:]))
