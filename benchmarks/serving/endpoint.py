"""Clients of a running server."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import requests

from benchmarks.process_memory import ProcessMemory
from benchmarks.serving.timing import Pace, time_repetitions
from scripts.errors import UserError
from scripts.server_access import PinnedCertificate, ServerAccess

_TIMEOUT_S = 300


class UnexpectedAnswer(UserError):
    """A server answered with an error, so there is nothing to measure."""


class RunningServer(Protocol):
    """A running server."""

    @property
    def url(self) -> str:
        """Return the URL that photographs are sent to."""

    @property
    def certificate(self) -> Path | None:
        """Return the server's certificate, if it has one."""

    def workers(self) -> list[dict[str, Any]]:
        """Return the processes that answer, each with its `pid`."""


@dataclass(frozen=True)
class Endpoint:
    """A server and the request to measure: a photograph, with its whole answer."""

    server: RunningServer
    file: bytes
    content_type: str = "image/jpeg"
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self) -> bytes:
        """Send the request once and return the answer's body.

        Raises:
            UnexpectedAnswer: the status is an error.
        """
        with self._session() as session:
            return self._send(session)

    def latencies(self, pace: Pace) -> list[float]:
        """Return the seconds of each request, first byte sent to last byte received, from one client on one connection."""
        with self._session() as session:
            return time_repetitions(lambda: self._send(session), pace)

    def per_second(self, clients: int, pace: Pace) -> float:
        """Return the answers per second to `clients` clients that each send the next request once the last is answered."""
        lock, requests_sent, start = threading.Lock(), 0, time.perf_counter()

        def may_send() -> bool:
            nonlocal requests_sent
            with lock:
                if pace.done(requests_sent, start):
                    return False
                requests_sent += 1
                return True

        def keep_sending() -> None:
            with self._session() as session:
                while may_send():
                    self._send(session)

        with ThreadPoolExecutor(clients) as pool:
            for client in [pool.submit(keep_sending) for _ in range(clients)]:
                client.result()
        return requests_sent / (time.perf_counter() - start)

    def worker_pid(self) -> int:
        """Return the process id of the server's only worker."""
        (worker,) = self.server.workers()
        return int(str(worker["pid"]))

    def worker_memory(self) -> ProcessMemory:
        return ProcessMemory.read(self.worker_pid())

    def _send(self, session: requests.Session) -> bytes:
        headers = {"Content-Type": self.content_type, **self.headers}
        response = session.post(self.server.url, data=self.file, headers=headers, timeout=_TIMEOUT_S)
        if not response.ok:
            raise UnexpectedAnswer(f"{self.server.url}: answered {response.status_code}: {response.text[:500]}")
        return response.content

    def _session(self) -> requests.Session:
        session = requests.Session()
        # Requests to loopback must not go through a proxy set in the environment.
        session.trust_env = False
        ServerAccess.from_environment().prepare(session, self.server.url, self.headers)
        if self.server.certificate:
            session.mount("https://", PinnedCertificate(self.server.certificate))
            session.verify = False
        return session
