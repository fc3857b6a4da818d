"""Credentials for a server: a bearer token, and the authority to trust for its certificate."""

import argparse
import hashlib
import os
import ssl
import stat
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from scripts.arguments import existing_file
from scripts.errors import print_warning

TOKEN_VARIABLE = "DEEPLAB_TOKEN"  # noqa: S105 (the variable's name)


@dataclass(frozen=True)
class ServerAccess:
    """How a program authenticates to a server, and verifies it."""

    #: A bearer token.
    token: str | None = field(default=None, repr=False)
    #: PEM file of trusted authorities; None for those that requests knows (`REQUESTS_CA_BUNDLE`, or certifi's).
    ca: Path | None = None

    @classmethod
    def from_environment(cls) -> "ServerAccess":
        """Return the access that the environment configures."""
        return cls(os.environ.get(TOKEN_VARIABLE, "").strip() or None)

    @classmethod
    def from_arguments(cls, arguments: Namespace) -> "ServerAccess":
        """Return the access given by the options of `add_access_options`, with the environment's token if they give none."""
        return cls(arguments.token_file or cls.from_environment().token, arguments.ca)

    @property
    def verify(self) -> str | None:
        """The argument `verify` of each request: set on the session, it would yield to the environment's authorities."""
        return str(self.ca) if self.ca else None

    def prepare(self, session: requests.Session, url: str, headers: Mapping[str, str]) -> None:
        """Send the token with a session's requests, unless the URL or headers already hold credentials."""
        if self.token and urlsplit(url).username is None and "authorization" not in {name.lower() for name in headers}:
            # ~/.netrc would override a header set on the session.
            session.auth = BearerToken(self.token)


class BearerToken(AuthBase):
    """Bearer token authorization for requests."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class PinnedCertificate(HTTPAdapter):
    """Accept one known certificate of a server, whatever its names and issuer."""

    def __init__(self, certificate: Path) -> None:
        """Store the digest of the first certificate in a PEM file.

        Raises:
            OSError: the file cannot be read.
        """
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        encoded = certificate.read_text().partition(begin)[2].partition(end)[0]
        self._digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(f"{begin}{encoded}{end}")).hexdigest()
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, assert_fingerprint=self._digest)


def add_access_options(parser: argparse.ArgumentParser) -> None:
    """Add `--token-file` and `--ca` to a program that sends requests to a server."""
    parser.add_argument(
        "--token-file",
        type=_read_token,
        metavar="FILE",
        help=f"bearer token to send (${TOKEN_VARIABLE} holds one)",
    )
    parser.add_argument(
        "--ca", type=existing_file, metavar="FILE", help="authority of the server's certificate, as PEM ($REQUESTS_CA_BUNDLE)"
    )


def _read_token(name: str) -> str:
    path = existing_file(name)
    try:
        token = path.read_text().strip()
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{name!r} cannot be read as text") from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ArgumentTypeError(f"{name!r} should hold one token, and nothing else")
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        print_warning(f"{name}: other users can read this token; chmod go-r {name}")
    return token
