"""Serve an archive with Ray Serve: on a running cluster, or on a Ray started on this machine.

  python -m scripts.ray_serve --archive build/model-store/deeplabv3.mar --replicas 1:4
  python -m scripts.ray_serve --archive /models/deeplabv3.mar --address auto --host 0.0.0.0 --server "--tokens /models/tokens"

Every node needs the archive at the same path, and this project's packages. SIGTERM and Ctrl-C let requests finish and end the
application. Paths, bodies and answers are as in docs/http-api.md; docs/scale.md lists what is different on Ray Serve.
"""

import os
import signal
import sys
import threading
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

from scripts.arguments import Parser, number, positive_int, seconds, whole_number
from scripts.errors import UserError, report_errors
from scripts.ray_cluster import connected
from scripts.ray_serve.deployment import NAME, ServeSettings, application
from scripts.ray_serve.proxy_errors import CALLBACK, VARIABLE

_PROG = "python -m scripts.ray_serve"
_DEFAULTS = ServeSettings.model_fields
#: For the processes of a private Ray; a running cluster's processes keep their settings.
_RAY_SETTINGS = {
    VARIABLE: CALLBACK,
    # By default Ray Serve kills proxies that are not ready within 5 s, which is too short on a busy machine.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "180",
}
#: How many times to wait for proxies, 60 s each as Ray Serve allows.
_ATTEMPTS = 3
#: Exit code after SIGTERM while Ray starts, as in shells.
_SIGTERM_EXIT_CODE = 128 + signal.SIGTERM


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal arrives; return the exit code."""
    arguments = build_parser().parse_args(argv)
    if arguments.address is None and not arguments.archive.exists():
        raise UserError(f"{arguments.archive}: no such archive; `make package` builds it")
    settings = read_arguments(arguments)
    stop = threading.Event()
    for name, value in _RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    with ExitStack() as cleanup:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(_SIGTERM_EXIT_CODE))
        cleanup.enter_context(connected(arguments.address))
        # Ray's own SIGTERM handler would leave its files behind.
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: stop.set())
        from ray import serve

        cleanup.callback(serve.delete if arguments.address else lambda _: serve.shutdown(), NAME)
        _run(serve, settings, arguments)
        print(f"ready: http://{arguments.host}:{arguments.port}/predictions/{settings.name}", flush=True)
        stop.wait()
    return 0


def build_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_PROG, __doc__)
    add = parser.add_argument
    add("--archive", type=Path, required=True, metavar="FILE", help="the model archive, at this path on every node")
    add("--name", metavar="NAME", help="name of the model (the file's name)")
    add("--address", metavar="ADDRESS", help="address of a cluster, or auto; by default Ray is started on this machine")
    add("--host", default="127.0.0.1", help="address that the proxies listen on (%(default)s: only this machine)")
    add("--port", type=whole_number(1, 65535), default=8000, metavar="N", help="port of the proxies (%(default)s)")
    add("--replicas", type=_replicas, default=(1, 1), metavar="MIN:MAX", help="replicas, scaled by waiting requests (1:1)")
    for name, parse, text in (
        ("cpus", number(0.1, 1024), "processors of a replica"),
        ("gpus", number(0, 64), "GPUs of a replica"),
        ("memory", positive_int, "bytes of memory of a replica"),
        ("ongoing", positive_int, "requests in a replica at a time"),
        ("queued", positive_int, "requests that wait in a proxy; more get 503"),
        ("busy-after", seconds, "seconds of load before another replica is started"),
        ("idle-after", seconds, "seconds without load before a replica is ended"),
    ):
        default = _DEFAULTS[name.replace("-", "_")].default
        add(f"--{name}", type=parse, default=default, metavar="N", help=f"{text} ({default:g})")
    add("--server", default="", metavar="OPTIONS", help='more options of the server: "--tokens FILE --timeout 60"')
    return parser


def read_arguments(arguments: Namespace) -> ServeSettings:
    """Return the application's settings from a command line."""
    minimum, maximum = arguments.replicas
    fields = {name: value for name, value in vars(arguments).items() if name in _DEFAULTS}
    archive = arguments.archive if arguments.address else arguments.archive.resolve()
    fields |= {"archive": archive, "name": arguments.name or archive.stem, "min_replicas": minimum, "max_replicas": maximum}
    return ServeSettings(**fields)


def _run(serve: ModuleType, settings: ServeSettings, arguments: Namespace) -> None:
    """Start the proxies and the application, and return when it is ready.

    Raises:
        UserError: the application cannot be deployed, or the port is in use.
    """
    address = {"host": arguments.host, "port": arguments.port}
    try:
        _retry_on_timeout(lambda: serve.start(http_options=address, proxy_location="EveryNode"))
        _retry_on_timeout(lambda: serve.run(application(settings), name=NAME, route_prefix="/"))
    except (RuntimeError, TimeoutError) as error:
        raise UserError(f"Ray Serve cannot serve {settings.archive}: {_reason(serve) or error}") from error


def _retry_on_timeout(call: Callable[[], object]) -> None:
    """Repeat a call that gave up waiting for proxies; this starts nothing new, but gives a busy machine more time."""
    for _ in range(_ATTEMPTS - 1):
        try:
            call()
        except TimeoutError:
            continue
        return
    call()


def _reason(serve: ModuleType) -> str:
    """Return Ray Serve's message about the deployment, starting at the error's own text if it contains one."""
    application = serve.status().applications.get(NAME)
    messages = [deployment.message for deployment in application.deployments.values()] if application else []
    lines = " ".join(messages).strip().splitlines()
    errors = [line for line in lines if "UserError: " in line]
    return errors[-1].partition("UserError: ")[2] if errors else "\n".join(lines)


def _replicas(text: str) -> tuple[int, int]:
    minimum, _, maximum = text.partition(":")
    parse = whole_number(1)
    try:
        bounds = parse(minimum), parse(maximum or minimum)
    except ArgumentTypeError:
        bounds = (1, 0)
    if bounds[0] > bounds[1]:
        raise ArgumentTypeError(f"{text!r} must be MIN:MAX, two whole numbers of 1 or more, such as 1:4")
    return bounds


if __name__ == "__main__":
    sys.exit(main())
