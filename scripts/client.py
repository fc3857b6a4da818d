"""Request segmentations from a running server, with retries.

AnswerError
├── ServerUnreachable    nothing answers at the URL
├── TransportError       the connection broke, or no data arrived in time
├── ImageRefused         the server answers with an error; another image may succeed
└── RequestRefused       the server answers with an error that every image would meet
"""

import json
import random
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter

from scripts.errors import UserError
from scripts.server.ports import DEFAULT_PORT
from scripts.server_access import ServerAccess

DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}/predictions/deeplabv3"
DEFAULT_RETRIES = 8
DEFAULT_TIMEOUT_S = 300.0
_CONNECT_TIMEOUT_S = 10.0
#: Too many requests; the queue is full or no worker is ready yet; out of memory.
_RETRIED_STATUSES = (429, 503, 507)
#: Statuses and error types (ours and TorchServe's) that do not come from the image.
_GENERAL_STATUSES = (*range(300, 400), 401, 403, 404, 405, 407, 501)
_GENERAL_TYPES = ("InvalidOption", "InvalidKeyException")
_MAX_BACKOFF_S = 30.0
_MAX_RETRY_AFTER_S = 300.0
#: A server that hangs on an image must not block a thread for long.
_MAX_TIMEOUTS = 2
#: TorchServe's message, with status 500, for requests lost with their worker; images that keep killing workers are given up on.
_WORKER_DIED, _MAX_WORKER_DEATHS = "Worker died.", 2
_REASON_LENGTH = 500


class AnswerError(UserError):
    """The server did not answer an image with its segmentation. The message is the reason."""

    #: Whether every other image would fail in the same way; the message then names the URL.
    affects_every_image: ClassVar[bool] = False


class ServerUnreachable(AnswerError):
    """Nothing answers at the URL."""

    affects_every_image = True


class TransportError(AnswerError):
    """The connection broke, or no data arrived in time."""


class ImageRefused(AnswerError):
    """The server answered with an error; another image may succeed."""


class RequestRefused(AnswerError):
    """The server answered with an error unrelated to the image: the URL, a key or an option is wrong."""

    affects_every_image = True


class Client:
    """A client of a model's predictions at a URL. Several threads may use it at once."""

    def __init__(
        self,
        url: str,
        *,
        retries: int = DEFAULT_RETRIES,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        connections: int = 1,
        access: ServerAccess | None = None,
    ) -> None:
        """Store the settings; no connection is made yet. Proxies come from the environment.

        Args:
            url: URL of a model's predictions, with a user name and password if the server needs them.
            retries: most retries of a request when the server is busy or the connection breaks.
            timeout_s: longest wait for data, in seconds; the request is then sent once more.
            headers: sent with every request.
            connections: connections to keep open; the number of threads that send requests.
            access: a token, and the authority to trust for the server's certificate; None takes both from the environment.
        """
        self.url = url
        self._retries = retries
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.headers.update(headers or {})
        access = access or ServerAccess.from_environment()
        access.prepare(self._session, url, headers or {})
        self._verify = access.verify
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))

    def require_server(self) -> None:
        """Check, without retries, that a server answers.

        Raises:
            ServerUnreachable: nothing answers.
        """
        try:
            # Any status will do: without a key, or behind a proxy, it may be an error.
            ping, verify = urljoin(self.url, "/ping"), self._verify
            self._session.get(ping, timeout=_CONNECT_TIMEOUT_S, allow_redirects=False, verify=verify)
        except requests.RequestException as error:
            raise self._unreachable(error) from error

    def segment(self, image: bytes, options: Mapping[str, str], content_type: str) -> bytes:
        """Return the server's answer to an image.

        Args:
            image: bytes of an image file.
            options: values by name, spelt as in docs/http-api.md.
            content_type: content type that the answer must have.

        Raises:
            AnswerError: the server is unreachable, still busy after all retries, or refuses the request.
        """
        attempt = timeouts = worker_deaths = 0
        while True:
            wait = _backoff(attempt)
            try:
                response = self._post(image, options)
            except requests.RequestException as error:
                timeouts += _timed_out(error)
                if attempt == self._retries or timeouts == _MAX_TIMEOUTS:
                    raise self._to_answer_error(error) from error
            else:
                worker_deaths += (died := _worker_died(response))
                is_transient = response.status_code in _RETRIED_STATUSES or (died and worker_deaths < _MAX_WORKER_DEATHS)
                if attempt == self._retries or not is_transient:
                    return self._response_body(response, content_type)
                wait = _retry_after(response, wait)
            time.sleep(wait)
            attempt += 1

    def _post(self, image: bytes, options: Mapping[str, str]) -> requests.Response:
        """Send a request once. The retries built into requests would not cover an answer that breaks off midway."""
        # A form, because headers are limited to Latin-1, and class names may be in any language.
        return self._session.post(
            self.url,
            data=dict(options),
            files={"data": ("image", image, "application/octet-stream")},
            timeout=(min(_CONNECT_TIMEOUT_S, self._timeout_s), self._timeout_s),
            allow_redirects=False,
            verify=self._verify,
        )

    def _to_answer_error(self, error: requests.RequestException) -> AnswerError:
        if _timed_out(error):
            return TransportError(f"no byte within {self._timeout_s:g} s")
        if isinstance(error, requests.ConnectionError) and not isinstance(
            _root_cause(error), ConnectionResetError | BrokenPipeError
        ):
            return self._unreachable(error)
        return TransportError(str(_root_cause(error)))

    def _unreachable(self, error: requests.RequestException) -> ServerUnreachable:
        if isinstance(error, requests.exceptions.SSLError):
            advice = "--ca FILE or REQUESTS_CA_BUNDLE names the authority of its certificate"
            return ServerUnreachable(f"{self.url}: no trusted connection ({_root_cause(error)}); {advice}")
        reason = f"none within {_CONNECT_TIMEOUT_S:g} s" if isinstance(error, requests.Timeout) else _root_cause(error)
        return ServerUnreachable(f"{self.url}: no answer ({reason}); start a server by `make serve`, or give the URL of one")

    def _response_body(self, response: requests.Response, content_type: str) -> bytes:
        """Return the answer's body if it has the expected status and content type."""
        if response.status_code != HTTPStatus.OK:
            error_type, reason = _parse_error(response)
            message = f"answered {response.status_code}{reason and ': '}{reason}"
            if response.status_code in _GENERAL_STATUSES or error_type in _GENERAL_TYPES:
                raise RequestRefused(f"{self.url}: {message}")
            raise ImageRefused(message)
        received_type = response.headers.get("Content-Type", "no content type")
        if received_type.partition(";")[0].strip().lower() != content_type.partition(";")[0]:
            raise RequestRefused(f"{self.url}: answered {received_type}, should be {content_type}")
        return response.content


def _worker_died(response: requests.Response) -> bool:
    """Return whether TorchServe says its worker died with the request. Our own server retries such requests itself."""
    return response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR and _parse_error(response)[1] == _WORKER_DIED


def _backoff(attempt: int) -> float:
    """Return the seconds before a retry: 0, 1, 2, 4, ..., plus up to one, so that clients do not all retry at once."""
    if attempt == 0:
        return 0.0
    return min(_MAX_BACKOFF_S, 2.0 ** (attempt - 1)) + random.random()  # noqa: S311, no secret


def _retry_after(response: requests.Response, default: float) -> float:
    text = response.headers.get("Retry-After", "")
    return min(_MAX_RETRY_AFTER_S, float(text)) if text.isdecimal() else default


def _timed_out(error: requests.RequestException) -> bool:
    """Return whether a connected server sent nothing in time; within a body, requests raises ConnectionError for that."""
    return not isinstance(error, requests.ConnectTimeout) and isinstance(_root_cause(error), TimeoutError)


def _root_cause(error: BaseException) -> BaseException:
    """Return the root cause, whose message does not contain the reprs of library objects."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _parse_error(response: requests.Response) -> tuple[str, str]:
    """Return the error's type, if it has one, and its message."""
    if response.is_redirect:
        return "", f"moved to {response.headers['Location']}"
    text = response.content.decode(errors="replace")
    try:
        error = json.loads(text)
    except ValueError:
        error = None
    if isinstance(error, dict) and {"type", "message"} <= error.keys():
        return str(error["type"]), str(error["message"])
    return "", " ".join(text.split())[:_REASON_LENGTH]
