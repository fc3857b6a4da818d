"""Ask a running server for segmentations."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urljoin

import requests.utils
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Retry, Timeout
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.util import make_headers, parse_url

from scripts.errors import UserError
from scripts.server import DEFAULT_PORT

DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}/predictions/deeplabv3"
DEFAULT_RETRIES = 8
DEFAULT_TIMEOUT_S = 300.0
_CONNECT_WITHIN_S = 10.0
#: Passing troubles: the queue is full or no worker is ready yet; there is no memory left.
_RETRIED_STATUSES = (503, 507)
#: Statuses and types of errors (ours and TorchServe's) that say nothing about the image.
_GENERAL_STATUSES = (*range(300, 400), 401, 403, 404, 405, 407, 501)
_GENERAL_TYPES = ("InvalidOption", "InvalidKeyException")
#: Seconds: waits of about 0, 1, 2, 4, 8, 16 and 30, to which chance adds up to one, so that clients do not come back together.
_BACKOFF_S, _LONGEST_BACKOFF_S, _JITTER_S = 0.5, 30.0, 1.0
_LONGEST_RETRY_AFTER_S = 300
_REASON_LENGTH = 500


class AnswerError(UserError):
    """An image was not answered with its segmentation. The message is the reason."""

    #: Whether every other image would meet the same; the message then names the URL.
    concerns_all: ClassVar[bool] = False


class NoServer(AnswerError):
    """Nothing answers at the URL."""

    concerns_all = True


class Refusal(AnswerError):
    """The server answered with an error; another image may fare better."""


class GeneralRefusal(Refusal):
    """The server answered with an error that does not come from the image: the URL, a key or an option is wrong."""

    concerns_all = True


class Client:
    """A model's predictions at a URL. Several threads may ask at once."""

    def __init__(
        self,
        url: str,
        *,
        retries: int = DEFAULT_RETRIES,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        connections: int = 1,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: of the model's predictions.
            retries: of a request, at most, while the trouble is a passing one.
            timeout_s: seconds without a byte from the server after which a request is taken for lost; it is sent once more.
            headers: sent with every request.
            connections: kept open; as many as threads ask.
        """
        self.url = url
        self._timeout_s = timeout_s
        retry = _Retry(
            retries,
            allowed_methods=None,
            status_forcelist=_RETRIED_STATUSES,
            raise_on_status=False,
            backoff_factor=_BACKOFF_S,
            backoff_max=_LONGEST_BACKOFF_S,
            backoff_jitter=_JITTER_S,
            retry_after_max=_LONGEST_RETRY_AFTER_S,
        )
        timeout = Timeout(connect=min(_CONNECT_WITHIN_S, timeout_s), read=timeout_s)
        self._pool = _pool(url, dict(headers or {}), maxsize=connections, retries=retry, timeout=timeout)

    def require_server(self) -> None:
        """Fail at once, without retries, where nothing answers.

        Raises:
            NoServer: so it is.
        """
        try:
            # Any status will do: without a key, or behind a proxy, it may well be an error.
            self._pool.request("GET", urljoin(self.url, "/ping"), retries=False, timeout=_CONNECT_WITHIN_S)
        except HTTPError as error:
            raise self._no_server(error) from error

    def ask(self, image: bytes, options: Mapping[str, str], content_type: str) -> bytes:
        """What the server makes of an image file.

        Args:
            image: the file's bytes.
            options: values by name, as the contract spells them.
            content_type: what the answer must be.

        Raises:
            AnswerError: it makes nothing of it; the error's class says whether it would of another image.
        """
        # A form, because headers hold Latin-1 alone, and class names may be in any language.
        form: list[tuple[str, str | tuple[str, bytes, str]]] = [*options.items()]
        form.append(("data", ("image", image, "application/octet-stream")))
        try:
            # With the body, so that one that breaks off is asked for again.
            response = self._pool.request("POST", self.url, fields=form, redirect=False, preload_content=True)
        except HTTPError as error:
            cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            if isinstance(cause, ConnectTimeoutError):
                raise self._no_server(cause) from error
            raise AnswerError(_in_words(cause, self._timeout_s)) from error
        return _checked(response, content_type, self.url)

    def _no_server(self, error: Exception) -> NoServer:
        reason = _in_words(error, _CONNECT_WITHIN_S)
        return NoServer(f"{self.url}: no answer ({reason}); start a server by `make serve`, or give the URL of one")


class _Retry(Retry):
    """Retries of which one at most follows a timeout: an image that a server hangs on is not to hold a thread for long."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if (
            _pool
            and isinstance(error, ReadTimeoutError)
            and any(isinstance(each.error, ReadTimeoutError) for each in self.history)
        ):
            raise MaxRetryError(_pool, url or "", error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _pool(url: str, headers: dict[str, str], **common: Any) -> PoolManager:
    """Connections to `url`, through the proxy that the environment names for it."""
    user = parse_url(url).auth
    headers |= make_headers(basic_auth=user) if user else {}
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if proxy is None:
        return PoolManager(headers=headers, **common)
    login = make_headers(proxy_basic_auth=parse_url(proxy).auth)
    return ProxyManager(proxy, proxy_headers=login, headers=headers, **common)


def _in_words(error: Exception, timeout_s: float) -> str:
    # A refused connection is a kind of ConnectTimeoutError too.
    if isinstance(error, ReadTimeoutError | ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return f"nothing within {timeout_s:g} s"
    # What urllib3 says has its own objects' names around it.
    wrapped = error.args[-1] if isinstance(error, ProtocolError) else None
    return str(wrapped or error.__cause__ or error)


def _checked(response: BaseHTTPResponse, content_type: str, url: str) -> bytes:
    """The answer's body, if it is what was asked for."""
    if response.status != HTTPStatus.OK:
        kind, reason = _reason(response)
        general = response.status in _GENERAL_STATUSES or kind in _GENERAL_TYPES
        message = f"answered {response.status}{reason and ': '}{reason}"
        raise GeneralRefusal(f"{url}: {message}") if general else Refusal(message)
    received = response.headers.get("Content-Type", "nothing")
    if received.partition(";")[0].strip().lower() != content_type.partition(";")[0]:
        raise GeneralRefusal(f"{url}: answered {received}, should be {content_type}")
    return response.data


def _reason(response: BaseHTTPResponse) -> tuple[str, str]:
    """The error's type, as far as it has one, and what it says."""
    if location := response.get_redirect_location():
        return "", f"moved to {location}"
    text = response.data.decode(errors="replace")
    try:
        error = json.loads(text)
    except ValueError:
        error = None
    if isinstance(error, dict) and {"type", "message"} <= error.keys():
        return str(error["type"]), str(error["message"])
    return "", " ".join(text.split())[:_REASON_LENGTH]
