"""The server's command line. Imports only the standard library, so that `--help` needs no packages."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_DESCRIPTION = "Serve models from their archives over HTTP, without Java."
_EPILOG = """A model is served at /predictions/NAME, /v1/models/NAME:predict and /v2/models/NAME/infer;
/v2/health/live and /v2/health/ready are for probes. On SIGTERM the server finishes accepted requests, then exits."""

#: The subcommand that makes a bearer token.
TOKEN_COMMAND = "token"  # noqa: S105 (the command's name)
VERIFY_KEY = "--verify-key"

_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]+:[0-9A-Fa-f:.]+|[A-Za-z0-9._-]+")


class OptionError(Exception):
    """The command line is invalid."""


@dataclass(frozen=True)
class Split:
    """A share of one model's requests that another model gets."""

    model: str
    target: str
    #: Above 0, at most 1.
    share: float


@dataclass(frozen=True)
class ServerOptions:
    """How the server runs. Times are in seconds."""

    #: Archives, or folders with their extracted contents, by served name.
    models: Mapping[str, Path]
    host: str = "127.0.0.1"
    port: int = 8080
    #: Port for KServe v2 over gRPC, or None for no gRPC.
    grpc_port: int | None = None
    #: Worker processes per model.
    workers: int = 1
    #: Processors that each worker computes on; 0 for the archive's setting, which defaults to all.
    threads: int = 0
    #: The most waiting requests per model.
    queue: int = 100
    #: The most megabytes of request bodies held at a time.
    held_megabytes: int = 256
    #: From the last byte of a request to its answer.
    timeout: float = 120
    #: How long a request may overrun its deadline before its worker is considered hung and replaced.
    hung_after: float = 30
    #: How long a worker may give no sign of life before it is considered hung and replaced.
    silent_after: float = 15
    startup_timeout: float = 300
    header_timeout: float = 15
    #: Longest pause in a body.
    body_timeout: float = 20
    #: How long an idle connection stays open.
    keep_alive: float = 65
    connections: int = 1000
    #: Longest wait for accepted requests at shutdown.
    drain: float = 150
    #: Where archives are extracted, or None for the user's cache folder.
    cache: Path | None = None
    #: Each archive must be signed with one of these public keys; empty to skip the check.
    verify_key: Sequence[Path] = ()
    #: Log of requests and events, or None for standard output and error.
    log_file: Path | None = None
    #: Size at which the log file is replaced.
    log_megabytes: int = 50
    #: Hashes of bearer tokens, or None to allow everything to everyone.
    tokens: Path | None = None
    #: The certificate chain for TLS, and its key if that is in a separate file.
    certificate: Path | None = None
    key: Path | None = None
    #: Origins whose pages may call the server; `*` for all.
    allow_origin: Sequence[str] = ()
    #: Host names under which operational paths are answered, in addition to loopback names.
    allow_host: Sequence[str] = ()
    #: Models that get copies of other models' requests, and models that answer in place of others.
    shadow: Sequence[Split] = ()
    canary: Sequence[Split] = ()


class Parser(argparse.ArgumentParser):
    """A parser that raises `OptionError` instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; --help lists the options")


def parse_options(arguments: Sequence[str], prog: str, archive: Path | None = None) -> ServerOptions:
    """Return the options on a command line.

    Args:
        arguments: the words after the program's name.
        prog: what the user typed to start the program.
        archive: the archive to serve under its own name if the command line names no model.

    Raises:
        OptionError: an option is unknown or invalid, or there is no model to serve.
    """
    namespace = _build_parser(prog, archive).parse_args(arguments)
    models = _collect_models(namespace.model, namespace.model_store)
    if not models and archive is not None:
        models = {archive.stem: archive}
    if not models:
        raise OptionError("no model to serve; name one with --model NAME=FILE, or a folder of archives with --model-store")
    if namespace.key is not None and namespace.certificate is None:
        raise OptionError(f"--key {namespace.key}: needs the certificate that it is for; name that with --certificate FILE")
    for name in ("shadow", "canary"):
        _check_splits(name, getattr(namespace, name), models)
    values = {name: value for name, value in vars(namespace).items() if name not in {"model", "model_store"}}
    return ServerOptions(models, **values)


def _build_parser(prog: str, archive: Path | None) -> Parser:
    parser = Parser(
        prog, description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, defaults = parser.add_argument, ServerOptions({})
    default_model = f" ({archive.stem}, this archive)" if archive else ""
    text = f"a model to serve; repeatable{default_model}"
    add("--model", type=_parse_model, action="append", default=[], metavar="NAME=FILE", help=text)
    add("--model-store", type=_parse_folder, metavar="DIR", help="serve every .mar in this folder under its file's name")
    add("--host", default=defaults.host, help="address to listen on (%(default)s: this machine only)")
    add("--port", type=_integer(0, 65535), default=defaults.port, metavar="N", help="port; 0: any free one (%(default)s)")
    add_access_options(parser)
    add("--grpc-port", type=_integer(0, 65535), metavar="N", help="port for KServe v2 over gRPC; 0: any free one (none)")
    add("--cache", type=Path, metavar="DIR", help="folder into which archives are extracted (~/.cache/deeplab-serve)")
    text = "serve only archives signed with this minisign public key; repeatable, any one suffices"
    add(VERIFY_KEY, type=_parse_file, action="append", default=[], metavar="FILE", help=text)
    for name, text in (
        ("shadow", "let OTHER segment a share of NAME's requests too, and measure their agreement; repeatable"),
        ("canary", "let OTHER answer a share of NAME's requests; repeatable"),
    ):
        add(f"--{name}", type=_parse_split, action="append", default=[], metavar="NAME=OTHER:SHARE", help=text)
    add("--log-file", type=Path, metavar="FILE", help="log to this file, replaced when full; five earlier ones are kept")
    _add_limits(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare the options for counts, sizes and times."""
    add, defaults = parser.add_argument, ServerOptions({})
    for name, minimum, text in (
        ("workers", 1, "processes per model"),
        ("threads", 0, "processors that each process computes on; 0: all, unless the archive sets fewer"),
        ("queue", 1, "requests of one model that may wait; more get 503"),
        ("held-megabytes", 1, "megabytes of requests that may be held; more get 503"),
        ("connections", 1, "most open connections"),
        ("log-megabytes", 1, "megabytes at which --log-file is replaced"),
    ):
        default = getattr(defaults, name.replace("-", "_"))
        add(f"--{name}", type=_integer(minimum), default=default, metavar="N", help=f"{text} (%(default)s)")
    for name, text in (
        ("timeout", "from a request's last byte to its answer, else 504"),
        ("hung-after", "beyond that before its worker is considered hung and replaced"),
        ("silent-after", "without a sign of life before a worker is considered hung and replaced"),
        ("startup-timeout", "for a worker to load its model"),
        ("header-timeout", "for a request's headers to arrive"),
        ("body-timeout", "of pause in a body"),
        ("keep-alive", "that an idle connection stays open"),
        ("drain", "for accepted requests to finish at shutdown"),
    ):
        default = getattr(defaults, name.replace("-", "_"))
        add(f"--{name}", type=_parse_seconds, default=default, metavar="SECONDS", help=f"seconds {text} (%(default)g)")


def add_access_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for access control and TLS."""
    add = parser.add_argument
    add("--tokens", type=Path, metavar="FILE", help="hashes of the bearer tokens that clients must send; `token` makes one")
    add("--certificate", type=Path, metavar="FILE", help="TLS by this chain of certificates (PEM)")
    add("--key", type=Path, metavar="FILE", help="its private key, if that is not in the same file")
    for name, kind, metavar, text in (
        ("origin", _parse_origin, "ORIGIN", "origin whose pages may call the server, or '*'; repeatable"),
        ("host", _parse_host, "NAME", "host name under which operational paths are answered; repeatable"),
    ):
        add(f"--allow-{name}", type=kind, action="append", default=[], metavar=metavar, help=text)


def _collect_models(named_models: Sequence[tuple[str, Path]], store: Path | None) -> dict[str, Path]:
    archives = sorted(store.glob("*.mar")) if store else []
    if store and not archives:
        raise OptionError(f"--model-store {store}: there is no .mar file in this folder")
    models: dict[str, Path] = {}
    for name, path in [*((path.stem, path) for path in archives), *named_models]:
        if name in models:
            raise OptionError(f"there are two models called {name!r}: {models[name]} and {path}")
        models[name] = path
    return models


def _parse_model(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not equals:
        name, file = Path(text).stem, text
    if not name or "/" in name or ":" in name:
        raise argparse.ArgumentTypeError(f"{text!r} should be NAME=FILE, the name without '/' and ':'")
    path = Path(file)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{file!r}: no such file")
    return name, path


def _parse_split(text: str) -> Split:
    match = re.fullmatch(r"([^=]+)=([^:]+):([0-9.]+)", text)
    try:
        share = float(match[3]) if match else 0
    except ValueError:
        share = 0
    if match is None or not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=OTHER:SHARE, the share above 0 and at most 1, such as a=b:0.1")
    return Split(match[1], match[2], share)


def _check_splits(option: str, splits: Sequence[Split], models: Mapping[str, Path]) -> None:
    for position, split in enumerate(splits):
        unknown = next((name for name in (split.model, split.target) if name not in models), None)
        if unknown is not None:
            raise OptionError(f"--{option}: there is no model {unknown!r} here; the served models are {', '.join(models)}")
        if split.model == split.target:
            raise OptionError(f"--{option}: {split.model!r} cannot be compared with itself; name two models")
        if any(split.model == earlier.model for earlier in splits[:position]):
            raise OptionError(f"--{option}: given twice for {split.model!r}; a model can have only one")


def _parse_origin(text: str) -> str:
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be '*' or an origin, without a path, such as https://app.example.org")
    scheme, _, host = text.lower().partition("://")
    # Browsers omit the default port.
    return text.lower().removesuffix(_DEFAULT_PORTS.get(scheme, "")) if host else text


def _parse_host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a host name or address, without a port, such as maps.example.org")
    return text.lower().strip("[]").removesuffix(".")


def _parse_file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r}: no such file")
    return Path(text)


def _parse_folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: no such folder")
    return Path(text)


def _integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    bounds = f"{minimum} or more" if maximum is None else f"from {minimum} to {maximum}"

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and minimum <= int(text) and (maximum is None or int(text) <= maximum)):
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, {bounds}")
        return int(text)

    return parse


def _parse_seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return value
