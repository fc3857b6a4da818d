"""Start or stop a server: TorchServe, or this project's own.

python -m scripts.server start --archive build/model-store/deeplabv3.mar --port 8080
python -m scripts.server start --archive build/model-store/objects.mar --archive build/model-store/streets.mar
python -m scripts.server start --server asgi --archive build/model-store/deeplabv3.mar --port 8080
python -m scripts.server start --server asgi --archive build/model-store/deeplabv3.mar --tokens tokens --allow-origin https://app.example.org
python -m scripts.server token --scope predict
python -m scripts.server ready
python -m scripts.server stop

With --server asgi, all options of that server are accepted: `python MODEL.mar --help` lists them. With either server,
`--verify-key KEY.pub` refuses archives not signed with this key (python -m scripts.sign).
"""

import sys
from argparse import Namespace
from collections.abc import Sequence

from handler.servers.asgi import token_command
from handler.servers.asgi.options import TOKEN_COMMAND, OptionError
from scripts.arguments import Parser, existing_file, seconds
from scripts.errors import UsageError, report_errors
from scripts.server import CONFIG, READY_TIMEOUT_S, Ports, Server, start
from scripts.server.options import add_archives, add_port, add_run_directory, add_server
from scripts.server.properties import KEYS
from scripts.server.running import READY_PROBE_S, remove_leftovers


@report_errors
def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    arguments, extra_options = parser.parse_known_args(argv)
    if arguments.command == "start":
        _start(arguments, extra_options)
    elif arguments.command == TOKEN_COMMAND:
        _make_token(extra_options)
    elif extra_options:
        parser.error(f"unrecognized arguments: {' '.join(extra_options)}")
    elif arguments.command == "ready":
        return _report_readiness(arguments)
    else:
        _stop(arguments)
    return 0


def _start(arguments: Namespace, extra_options: Sequence[str]) -> None:
    ports = Ports.from_base(arguments.port)
    archive, *other_archives = arguments.archive
    server = start(
        archive, ports, arguments.run_directory, arguments.ts_config, arguments.server, extra_options, other_archives
    )
    try:
        server.wait_until_ready(arguments.within)
    except BaseException:
        server.stop()
        raise
    for model in server.models:
        print(f"READY at {server.url_of(model)}")
    if server.page_url:
        print(f"see:  {server.page_url}")
    print(f"try:  curl -T photo.jpg -H 'X-Segment-Format: overlay' {server.url} -o overlay.jpg")
    if server.endpoint("inference").key:
        print(f"keys: {server.run_directory / KEYS}")
    print("stop: make stop")


def _make_token(arguments: Sequence[str]) -> None:
    try:
        token_command.main(arguments, "python -m scripts.server")
    except OptionError as error:
        raise UsageError(str(error)) from error


def _stop(arguments: Namespace) -> None:
    server = Server.find(arguments.run_directory)
    if server is None:
        removed = remove_leftovers(arguments.run_directory)
        print("no server runs" + (f"; removed {removed}, left by a server that was killed" if removed else ""))
    else:
        server.stop(lambda sentence: print(sentence, flush=True))
        print(f"stopped {server.url}")


def _report_readiness(arguments: Namespace) -> int:
    server = Server.find(arguments.run_directory)
    reason = "no server runs" if server is None else server.why_not_ready(arguments.within)
    print(f"not ready: {reason}" if reason else "ready")
    return 1 if reason else 0


def _parser() -> Parser:
    parser = Parser("python -m scripts.server", __doc__)
    add_run_directory(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="start | ready | stop | token")
    start_parser = commands.add_parser("start", help="start the server; returns when it is READY")
    add_archives(start_parser)
    add_server(start_parser)
    add_port(start_parser)
    start_parser.add_argument(
        "--within", type=seconds, default=READY_TIMEOUT_S, metavar="SECONDS", help="longest wait for READY (%(default)s)"
    )
    text = "settings of TorchServe (config.properties): keys, TLS, limits"
    start_parser.add_argument("--ts-config", type=existing_file, default=CONFIG, metavar="FILE", help=text)
    ready_parser = commands.add_parser(
        "ready", help="request a prediction; exit with 0 if it succeeds, else with 1 and a reason"
    )
    text = "longest wait for the prediction (%(default)s)"
    ready_parser.add_argument("--within", type=seconds, default=READY_PROBE_S, metavar="SECONDS", help=text)
    commands.add_parser("stop", help="stop the server, if it runs")
    commands.add_parser(TOKEN_COMMAND, help="make a bearer token for --tokens; --help says more", add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
