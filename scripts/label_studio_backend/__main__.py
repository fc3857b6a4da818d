"""Pre-annotate Label Studio's tasks with a running server: a machine learning backend for its projects.

export LABEL_STUDIO_API_KEY=...    # Account & Settings: a personal access token, or a legacy one
python -m scripts.label_studio_backend --label-studio-url http://127.0.0.1:8090
python -m scripts.label_studio_backend --label-studio-url https://labels.example.com --allow-host '*.amazonaws.com'

Then connect http://127.0.0.1:9090 in the project's settings, under Model. <BrushLabels> get masks, <PolygonLabels> polygons.
Labels match the model's classes by name, in any case, by alias, or by predicted_values="cat,dog"; other classes are left out.

Images come only from Label Studio, data: URIs and the hosts of --allow-host; otherwise anyone who can edit tasks could reach
any host that this machine can. With BASIC_AUTH_USER and BASIC_AUTH_PASS in the environment, Label Studio must send these.
Needs the extra `label-studio`: pip install '.[label-studio]'
"""

import os
import socket
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from scripts.arguments import (
    Parser,
    add_request_options,
    existing_folder,
    http_header,
    http_url,
    positive_int,
    seconds,
    whole_number,
)
from scripts.client import DEFAULT_URL, Client
from scripts.errors import UsageError, report_errors
from scripts.label_studio_backend.errors import AddressUnusable, PackageMissing
from scripts.server_access import ServerAccess, add_access_options

if TYPE_CHECKING:
    from scripts.label_studio_backend.predictions import Predictor

_DEFAULT_PORT = 9090
#: Label Studio itself waits 100 seconds for a call, and the queue behind more retries would take longer.
_RETRIES = 2
#: Options that this program sets.
_RESERVED = ("format", "masks")


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    for name, _ in arguments.option:
        if name in _RESERVED:
            raise UsageError(f"--option {name}: is chosen by the project's tags")
    try:
        import defusedxml  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise PackageMissing(f"{error.name} is not installed; run: pip install '.[label-studio]'") from error
    from scripts.label_studio_backend.app import build_app

    predictor, client = _connect(arguments)
    user, password = os.environ.get("BASIC_AUTH_USER", ""), os.environ.get("BASIC_AUTH_PASS", "")
    config = uvicorn.Config(build_app(predictor, client, user, password), log_level="warning", lifespan="off")
    version = predictor.model().version
    with _listen(arguments.host, arguments.port) as listener:
        print(f"{version} for Label Studio at http://{arguments.host}:{arguments.port}", flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            predictor.close()
    return 0


def _connect(arguments: Namespace) -> "tuple[Predictor, Client]":
    """Return a predictor whose server has answered, and its client."""
    from scripts.label_studio_backend.predictions import Predictor
    from scripts.label_studio_backend.task_images import ImageSources, TaskImages

    client = Client(
        arguments.url,
        retries=_RETRIES,
        timeout_s=arguments.timeout,
        headers=dict(arguments.header),
        connections=arguments.jobs,
        access=ServerAccess.from_arguments(arguments),
    )
    client.require_server()
    sources = ImageSources(
        (arguments.label_studio_url or "").rstrip("/"),
        arguments.allow_host,
        arguments.local_files,
        arguments.max_bytes,
        arguments.timeout,
    )
    images = TaskImages(sources, os.environ.get("LABEL_STUDIO_API_KEY", ""))
    return Predictor(client, images.fetch, dict(arguments.option), arguments.jobs), client


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise AddressUnusable(f"cannot listen at {host}:{port}: {error.strerror}; choose another --host or --port") from error


def _parser() -> Parser:
    parser = Parser("python -m scripts.label_studio_backend", __doc__)
    add = parser.add_argument
    label_studio_url = os.environ.get("LABEL_STUDIO_URL") or None
    add("--url", type=http_url(DEFAULT_URL), default=DEFAULT_URL, help="a model's predictions (%(default)s)")
    add("--header", type=http_header, action="append", default=[], metavar="'NAME: VALUE'", help="to send; repeatable")
    add_access_options(parser)
    add_request_options(parser, "of its requests")
    add(
        "--label-studio-url",
        type=http_url("http://127.0.0.1:8090"),
        default=label_studio_url,
        metavar="URL",
        help="Label Studio, for uploads and storages ($LABEL_STUDIO_URL); its token is $LABEL_STUDIO_API_KEY",
    )
    add("--allow-host", action="append", default=[], metavar="HOST", help="another host for images, or '*.host'; repeatable")
    add("--local-files", type=existing_folder, metavar="DIR", help="Label Studio's LOCAL_FILES_DOCUMENT_ROOT, read directly")
    add("--max-bytes", type=positive_int, default=32_000_000, metavar="N", help="largest image (%(default)s)")
    add("--timeout", type=seconds, default=60.0, metavar="SECONDS", help="longest wait for an image or answer (%(default)g)")
    add("--jobs", type=positive_int, default=4, metavar="N", help="images in flight (%(default)s)")
    add("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    add("--port", type=whole_number(1, 65_535), default=_DEFAULT_PORT, metavar="N", help="(%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
