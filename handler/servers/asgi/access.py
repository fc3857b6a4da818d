"""Bearer tokens: who may request predictions, and who may inspect the server. Independent of HTTP, so that gRPC shares it.

Each line of the token file is `NAME SCOPE[,SCOPE] sha256:HEX`. A token is 256 random bits, which nobody can guess, so one round
of SHA-256 protects it at rest, without the salt and slow hash that passwords need.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handler.servers.asgi.errors import Forbidden, Unauthorized
from handler.servers.asgi.logs import log_event
from handler.servers.asgi.watched_files import UnusableFile, WatchedFiles

PREDICT, OPERATE = "predict", "operate"
SCOPES = (PREDICT, OPERATE)

_LINE = re.compile(r"(?P<name>\S+)\s+(?P<scopes>\S+)\s+sha256:(?P<digest>[0-9a-fA-F]{64})")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
#: RFC 6750, section 2.1.
_AUTHORIZATION = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]{1,512}=*)")
#: Lets people and secret scanners recognize a leaked token.
_PREFIX = "deeplab_"
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Token:
    """A token's entry in the file: everything except the secret."""

    name: str
    scopes: frozenset[str]
    digest: bytes = field(repr=False)

    def line(self) -> str:
        """Return the token's line in the file."""
        return f"{self.name} {','.join(scope for scope in SCOPES if scope in self.scopes)} sha256:{self.digest.hex()}"


class Access:
    """Checks each call's bearer token."""

    def __init__(self, file: Path | None = None) -> None:
        """Read the tokens now, and again whenever the file changes.

        Args:
            file: the token file, or None to allow everything to everyone.

        Raises:
            UnusableFile: the file cannot be read, is not a token file, or is writable by other users.
        """
        self._tokens = WatchedFiles("--tokens", [file], lambda: read_tokens(file)) if file is not None else None
        if file is not None and file.stat().st_mode & stat.S_IROTH:
            log_event("warning", message=f"--tokens {file}: every user of this machine can read it; chmod o-r {file}")

    @property
    def needs_tokens(self) -> bool:
        """Whether a call without a token is refused."""
        return self._tokens is not None

    def check(self, authorization: Sequence[str], accepted_scopes: Collection[str]) -> str | None:
        """Return the name of the token that authorizes a call, or None if no token is needed.

        Args:
            authorization: the values of all headers (or gRPC metadata) named `authorization`.
            accepted_scopes: scopes; the token must have at least one of them.

        Raises:
            Unauthorized: the call does not have exactly one bearer token, or the token is not in the file.
            Forbidden: the token has none of the accepted scopes.
        """
        if self._tokens is None:
            return None
        token = _find_token(_read_secret(authorization), self._tokens.value())
        if token is None:
            raise Unauthorized("the bearer token is not valid here", "invalid_token")
        if token.scopes.isdisjoint(accepted_scopes):
            scopes = " or ".join(sorted(accepted_scopes))
            raise Forbidden(f"the token {token.name!r} does not allow this; it needs the scope {scopes}", scopes)
        return token.name


def make_token(scopes: Collection[str], name: str | None = None) -> tuple[str, Token]:
    """Return a new secret and its entry for the file; without `name`, the name is derived from the hash."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    digest = _digest(secret)
    return secret, Token(name or f"token-{digest.hex()[:8]}", frozenset(scopes), digest)


def append_token(file: Path, token: Token) -> None:
    """Append a token's line to a file; a new file is readable by its owner alone.

    Raises:
        UnusableFile: the file has a token of this name, is not a token file, or is writable by other users.
        OSError: the file cannot be written.
    """
    existing_tokens = read_tokens(file) if file.exists() and file.stat().st_size else ()
    if token.name in {entry.name for entry in existing_tokens}:
        raise UnusableFile(f"{file}: has a token {token.name!r} already; give another --name")
    with open(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a+b") as stream:  # noqa: PTH123
        stream.write(f"{token.line()}\n".encode())


def is_token_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def read_tokens(file: Path) -> tuple[Token, ...]:
    """Return the tokens in a file.

    Raises:
        UnusableFile: the file is not a token file, or is writable by other users.
        OSError: the file cannot be read.
    """
    tokens: list[Token] = []
    for number, line in enumerate(_read_private(file).splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            tokens.append(_parse_line(text, f"--tokens {file}, line {number}", tokens))
    if not tokens:
        raise UnusableFile(f"--tokens {file}: has no token; `token --scope predict` makes one, and the line to add")
    return tuple(tokens)


def _parse_line(text: str, location: str, earlier_tokens: Sequence[Token]) -> Token:
    match = _LINE.fullmatch(text)
    if match is None or not is_token_name(match["name"]):
        raise UnusableFile(f"{location}: should be NAME SCOPE[,SCOPE] sha256:HEX, the HEX of 64 digits")
    token = Token(match["name"], frozenset(match["scopes"].split(",")), bytes.fromhex(match["digest"]))
    if unknown := sorted(token.scopes.difference(SCOPES)):
        raise UnusableFile(f"{location}: scope {unknown[0][:40]!r} is unknown; use {' or '.join(SCOPES)}")
    for earlier in earlier_tokens:
        if token.name == earlier.name or token.digest == earlier.digest:
            raise UnusableFile(
                f"{location}: token {token.name!r} has the name or the hash of an earlier line, {earlier.name!r}"
            )
    return token


def _read_private(file: Path) -> str:
    with open(file, "rb", opener=_open_private) as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise UnusableFile(f"--tokens {file}: has more than {_MAX_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UnusableFile(f"--tokens {file}: is not text in UTF-8") from error


def _open_private(path: str, flags: int) -> int:
    """Open a regular file that no other user may write. Checks the open descriptor, so that the file cannot be swapped."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)  # Opening a pipe must not block.
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableFile(f"--tokens {path}: is not a regular file")
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UnusableFile(
                f"--tokens {path}: other users can write to it and so grant themselves access; it must belong to you or "
                f"root, and nobody else may write to it: chmod go-w {path}"
            )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _read_secret(authorization: Sequence[str]) -> str:
    if not authorization:
        raise Unauthorized("a token is needed; send the header 'Authorization: Bearer TOKEN'")
    match = _AUTHORIZATION.fullmatch(authorization[0])
    if len(authorization) > 1 or match is None:
        raise Unauthorized("the header 'Authorization' must appear once, as 'Bearer TOKEN'", "invalid_request")
    return match[1]


def _find_token(secret: str, tokens: Sequence[Token]) -> Token | None:
    """Return the token with this secret, in a time that reveals nothing about the secret."""
    digest = _digest(secret)
    matching = [token for token in tokens if hmac.compare_digest(token.digest, digest)]
    return matching[0] if matching else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
