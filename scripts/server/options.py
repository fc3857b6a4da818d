"""Command-line options of programs that start a server."""

from pathlib import Path

from scripts.arguments import Parser, one_of, whole_number
from scripts.server.launch import DEFAULT_RUN_DIRECTORY
from scripts.server.ports import DEFAULT_PORT, LAST_BASE_PORT


def add_archives(parser: Parser) -> None:
    text = "model archive, served under its file's name; repeatable, for several models on one server"
    parser.add_argument("--archive", type=Path, action="append", required=True, metavar="FILE", help=text)


def add_port(parser: Parser) -> None:
    port = whole_number(1024, LAST_BASE_PORT)
    text = "port for requests (%(default)s); TorchServe uses the next four too"
    parser.add_argument("--port", type=port, default=DEFAULT_PORT, metavar="N", help=text)


def add_run_directory(parser: Parser) -> None:
    text = "folder for the server's logs and state (build/server)"
    parser.add_argument("--run-directory", type=Path, default=DEFAULT_RUN_DIRECTORY, metavar="DIR", help=text)


def add_server(parser: Parser) -> None:
    software = one_of(["torchserve", "asgi"])
    text = "torchserve, or asgi, which needs no Java (%(default)s)"
    parser.add_argument("--server", type=software, default="torchserve", metavar="NAME", help=text)
