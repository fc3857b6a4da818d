"""A running server as its clients find it."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import requests

from benchmarks.process_memory import Memory
from benchmarks.serving.timing import Pace, seconds_of
from scripts.server import Server

_TIMEOUT_S = 300


class WrongAnswer(RuntimeError):
    """A server did not answer with what is to be measured."""


@dataclass(frozen=True)
class Endpoint:
    """A server, and what is asked of it: the answer to one photograph, with all of its bytes."""

    server: Server
    file: bytes
    content_type: str = "image/jpeg"
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self) -> bytes:
        """Raises WrongAnswer if it is an error."""
        with _session() as session:
            return self._ask(session)

    def latencies(self, pace: Pace) -> list[float]:
        """Seconds of each request, from its first byte to the answer's last, of one client that keeps its connection."""
        with _session() as session:
            return seconds_of(lambda: self._ask(session), pace)

    def per_second(self, clients: int, pace: Pace) -> float:
        """Answers per second to so many clients, each of which asks again as soon as it is answered."""
        lock, asked, begun = threading.Lock(), 0, time.perf_counter()

        def turn() -> bool:
            nonlocal asked
            with lock:
                if pace.over(asked, begun):
                    return False
                asked += 1
                return True

        def ask_on() -> None:
            with _session() as session:
                while turn():
                    self._ask(session)

        with ThreadPoolExecutor(clients) as pool:
            for each in [pool.submit(ask_on) for _ in range(clients)]:
                each.result()
        return asked / (time.perf_counter() - begun)

    def worker(self) -> int:
        """The process id of its one worker."""
        (worker,) = self.server.workers()
        return int(str(worker["pid"]))

    def memory(self) -> Memory:
        """Of its one worker."""
        return Memory.of(self.worker())

    def _ask(self, session: requests.Session) -> bytes:
        headers = {"Content-Type": self.content_type, **self.headers}
        response = session.post(self.server.url, data=self.file, headers=headers, timeout=_TIMEOUT_S)
        if not response.ok:
            raise WrongAnswer(f"{self.server.url}: answered {response.status_code}: {response.text[:500]}")
        return response.content


def _session() -> requests.Session:
    session = requests.Session()
    # A proxy that the environment names is none of the servers'.
    session.trust_env = False
    return session
