"""Decide which requests run together (in parallel lanes on a CPU, in batches on a GPU) and how many pixels are in memory."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

from handler.answers import EncodedResponse
from handler.errors import SegmentationError, capture
from handler.network.engines import Engine
from handler.network.views import infer_images, infer_views
from handler.options import SegmentationRequest
from handler.pipeline import DecodedRequest, Pipeline
from handler.stages import Observer, ignore

Outcome = EncodedResponse | SegmentationError


class Scheduler(Protocol):
    """Runs requests through a pipeline. Several threads may use it at once."""

    def answer(self, requests: Sequence[SegmentationRequest], observe: Observer = ignore) -> list[Outcome]:
        """Answer each request with its own response or error; no request affects another's answer.

        Args:
            requests: the requests that arrived together.
            observe: receives the duration of each stage in seconds, from several threads.
        """


def make_scheduler(pipeline: Pipeline) -> Scheduler:
    """Return a lane scheduler for an engine with several lanes, a batch scheduler for any other."""
    return LaneScheduler(pipeline) if len(pipeline.engine.lanes()) > 1 else BatchScheduler(pipeline)


class LaneScheduler:
    """Runs each request in one thread, from its file to its answer, and several requests at a time.

    A lone request gets the whole engine, and so every core. Concurrent requests share it: each runs on its own lane.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._budget = PixelBudget(pipeline.limits.max_pixels)
        lanes = pipeline.engine.lanes()
        self._idle_lanes: SimpleQueue[Engine] = SimpleQueue()
        for lane in lanes:
            self._idle_lanes.put(lane)
        self._threads = ThreadPoolExecutor(len(lanes), thread_name_prefix="lane")
        self._in_flight = 0
        self._lock = threading.Lock()

    def answer(self, requests: Sequence[SegmentationRequest], observe: Observer = ignore) -> list[Outcome]:
        with self._count_in_flight(len(requests)):
            if len(requests) == 1:
                return [capture(self._answer, requests[0], observe)]
            return list(self._threads.map(lambda request: capture(self._answer, request, observe), requests))

    def _answer(self, request: SegmentationRequest, observe: Observer) -> EncodedResponse:
        opened = self._pipeline.open(request)
        with self._budget.hold(opened.pixels):
            decoded = self._pipeline.decode(opened, observe)
            with self._borrow_engine() as engine:
                logits = infer_views(decoded.views, engine, observe)
            return self._pipeline.finish(decoded, logits, observe)

    @contextmanager
    def _count_in_flight(self, requests: int) -> Iterator[None]:
        with self._lock:
            self._in_flight += requests
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= requests

    @contextmanager
    def _borrow_engine(self) -> Iterator[Engine]:
        if self._in_flight == 1:
            yield self._pipeline.engine
            return
        lane = self._idle_lanes.get()
        try:
            yield lane
        finally:
            self._idle_lanes.put(lane)


class BatchScheduler:
    """Runs the views of several requests through the engine together, one batch of requests at a time."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._lock = threading.Lock()

    def answer(self, requests: Sequence[SegmentationRequest], observe: Observer = ignore) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        decoded_requests: dict[int, DecodedRequest] = {}
        pixels = 0
        with self._lock:
            for index, request in enumerate(requests):
                opened = capture(self._pipeline.open, request)
                if isinstance(opened, SegmentationError):
                    outcomes[index] = opened
                    continue
                if decoded_requests and pixels + opened.pixels > self._pipeline.limits.max_pixels:
                    outcomes |= self._answer_decoded(decoded_requests, observe)
                    decoded_requests, pixels = {}, 0
                decoded = capture(self._pipeline.decode, opened, observe)
                if isinstance(decoded, SegmentationError):
                    outcomes[index] = decoded
                    continue
                decoded_requests[index] = decoded
                pixels += opened.pixels
            outcomes |= self._answer_decoded(decoded_requests, observe)
        return [outcomes[index] for index in range(len(requests))]

    def _answer_decoded(self, requests: dict[int, DecodedRequest], observe: Observer) -> dict[int, Outcome]:
        logits = infer_images({index: decoded.views for index, decoded in requests.items()}, self._pipeline.engine, observe)
        outcomes: dict[int, Outcome] = {}
        for index, decoded in requests.items():
            inferred = logits[index]
            if isinstance(inferred, SegmentationError):
                outcomes[index] = inferred
            else:
                outcomes[index] = capture(self._pipeline.finish, decoded, inferred, observe)
        return outcomes


class PixelBudget:
    """Lets threads hold images of at most `pixels` together; a lone holder may exceed the budget."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._held_pixels = 0
        self._released = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Hold `pixels` for the block, after waiting until the budget has room for them."""
        with self._released:
            self._released.wait_for(lambda: self._held_pixels == 0 or self._held_pixels + pixels <= self._pixels)
            self._held_pixels += pixels
        try:
            yield
        finally:
            with self._released:
                self._held_pixels -= pixels
                self._released.notify_all()
