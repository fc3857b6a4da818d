"""Make a bearer token: `python MODEL.mar token --scope predict`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from handler.servers.asgi.access import SCOPES, append_token, is_token_name, make_token
from handler.servers.asgi.options import TOKEN_COMMAND, Parser
from handler.servers.asgi.watched_files import UnusableFile

_EPILOG = """The token is shown only once: the line, for the file that the server gets as --tokens FILE, holds only its hash.
A running server reads that file again when it changes. To revoke a token, remove its line.

    python MODEL.mar token --name web --scope predict --append tokens >web.token"""


def main(arguments: Sequence[str], prog: str) -> int:
    """Print a new token and its line, and return the exit code.

    Raises:
        OptionError: an option is invalid, or the file cannot be written.
    """
    parser = Parser(
        f"{prog} {TOKEN_COMMAND}",
        description="Make a bearer token, and its line for the server's token file (--tokens).",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--scope", choices=SCOPES, action="append", required=True, help="what the token allows; repeatable")
    add("--name", type=_parse_name, metavar="NAME", help="who has the token, for the file and the log (token-HASH)")
    add("--append", type=Path, metavar="FILE", help="append the line to this file and print only the token")
    namespace = parser.parse_args(arguments)
    secret, token = make_token(namespace.scope, namespace.name)
    if namespace.append is None:
        sys.stdout.write(f"token: {secret}\nline:  {token.line()}\n")
        return 0
    try:
        append_token(namespace.append, token)
    except OSError as error:
        raise UnusableFile(f"--append {namespace.append}: {error.strerror}") from error
    sys.stdout.write(f"{secret}\n")
    return 0


def _parse_name(text: str) -> str:
    if not is_token_name(text):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} must be 1 to 64 letters, digits and '._@-'")
    return text
