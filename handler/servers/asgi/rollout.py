"""Try another model on a share of the requests: as a shadow, whose answers are only compared, or as a canary, which answers.

Requests are chosen by a hash of their id, so that the same id is always treated the same.
"""

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from operator import eq
from typing import TYPE_CHECKING

from handler.errors import SegmentationError
from handler.observation import Observation
from handler.servers.asgi.body import BodyBudget
from handler.servers.asgi.errors import Unavailable
from handler.servers.asgi.logs import log_event
from handler.servers.asgi.messages import Answer, HttpRequest
from handler.servers.asgi.options import Split
from handler.servers.asgi.workers import ModelWorkers

if TYPE_CHECKING:
    from handler.servers.asgi.metrics import Metrics

#: The header that names the model that answered, set on requests for models with a canary.
SERVED_BY = "X-Served-Model"
#: Delay before a shadow's request is sent, so that the client's answer goes out first.
_SHADOW_DELAY_S = 0.02
#: Requests whose shadow agrees less than this are logged.
_LOW_AGREEMENT = 0.9


class Rollout:
    """Chooses the model that answers a request, and the shadow that gets a copy."""

    def __init__(
        self,
        models: Mapping[str, ModelWorkers],
        canaries: Sequence[Split] = (),
        shadows: Sequence[Split] = (),
        max_bytes: int = 0,
        metrics: "Metrics | None" = None,
    ) -> None:
        """Prepare the splits.

        Args:
            models: all served models, by name.
            canaries: models that answer a share of another model's requests.
            shadows: models that get copies of a share of another model's requests.
            max_bytes: the most bytes of bodies that may wait for shadows.
            metrics: counts shadow requests, if given.
        """
        self._models = models
        self._canaries = {split.model: split for split in canaries}
        self._shadows = {split.model: split for split in shadows}
        self._budget = BodyBudget(max_bytes)
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        if metrics is not None and shadows:
            metrics.watch_shadows(shadows)

    def choose(self, model: ModelWorkers, request_id: str) -> tuple[ModelWorkers, Mapping[str, str]]:
        """Return the model that answers a request for `model`, and headers that name it. Skips a canary that is not ready."""
        split = self._canaries.get(model.settings.model)
        if split is None:
            return model, {}
        canary = self._models[split.target]
        selected = canary if canary.is_ready and is_selected(request_id, "canary", split.share) else model
        return selected, {SERVED_BY: selected.settings.model}

    def prepare(self, model: ModelWorkers, request: HttpRequest) -> HttpRequest:
        """Return the request to send to `model`: sampled for comparison if a shadow gets it too."""
        split = self._shadows.get(model.settings.model)
        if split is None or request.action != "predict" or not is_selected(request.id, "shadow", split.share):
            return request
        return replace(request, sampled=True)

    def mirror(self, model: ModelWorkers, request: HttpRequest, answer: Answer) -> None:
        """Send a request that `model` has answered to its shadow in the background, if `prepare` chose it."""
        if request.sampled and answer.observations:
            task = asyncio.create_task(self._send_to_shadow(self._shadows[model.settings.model], request, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_to_shadow(self, split: Split, request: HttpRequest, answer: Answer) -> None:
        await asyncio.sleep(_SHADOW_DELAY_S)
        model, shadow = self._models[split.model], self._models[split.target]
        if len(model.queue) or not shadow.is_ready:
            self._count(split, "dropped")
            return
        try:
            with self._budget.hold() as share:
                share.grow_to(len(request.body))
                shadow_answer = await shadow.queue.wait(shadow.queue.put_low_priority(request), _wait_forever())
        except SegmentationError as error:
            self._count(split, "dropped" if isinstance(error, Unavailable) else "failed")
            return
        if self._metrics is not None:
            self._metrics.observe(split.target, shadow_answer.observations)
        if len(shadow_answer.observations) != len(answer.observations):
            self._count(split, "failed")
            return
        self._compare(split, request, answer, shadow_answer)

    def _compare(self, split: Split, request: HttpRequest, answer: Answer, shadow_answer: Answer) -> None:
        names = [_normalized_names(self._models[name]) for name in (split.model, split.target)]
        for pair in zip(answer.observations, shadow_answer.observations, strict=True):
            share = agreement(pair, names)
            self._count(split, "compared", share)
            if share < _LOW_AGREEMENT:
                log_event("shadow disagrees", id=request.id, model=split.model, shadow=split.target, agreement=round(share, 4))

    def _count(self, split: Split, outcome: str, share: float | None = None) -> None:
        if self._metrics is not None:
            self._metrics.compare(split.model, split.target, outcome, share)


def is_selected(request_id: str, purpose: str, share: float) -> bool:
    """Return whether a request is in the share, 0..1, chosen for a purpose."""
    digest = sha256(f"{purpose} {request_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def agreement(observations: Sequence[Observation], names: Sequence[Sequence[str]]) -> float:
    """Return the share of sample points, 0..1, where two models predict classes of the same name.

    Args:
        observations: one observation per model, with samples of the same image.
        names: each model's class names by index, as returned by `_normalized_names`.
    """
    first, second = (
        [class_names[index] for index in array("H", observation.sample)]
        for observation, class_names in zip(observations, names, strict=True)
    )
    equal: int = sum(map(eq, first, second))
    return equal / len(first)


def _normalized_names(model: ModelWorkers) -> list[str]:
    """Return the model's class names, normalized so that spellings of background match."""
    classes = model.ready.profile.classes if model.ready is not None else ()
    return [name.strip("_").casefold() for name in classes]


async def _wait_forever() -> None:
    await asyncio.Event().wait()
