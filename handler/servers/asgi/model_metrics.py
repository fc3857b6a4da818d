"""Metrics of images and predictions, of the engines that run the models, and of their processes."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from handler.drift import Window, drift
from handler.observation import BOUNDS, SHARE_BOUNDS, Observation
from handler.profile import Profile
from handler.servers.asgi.workers import ModelWorkers

_STATM = "/proc/{}/statm"


class ObservationHistograms:
    """Histograms of images and their predictions."""

    def __init__(self, histogram: Callable[..., Histogram]) -> None:
        """Declare the histograms with `histogram`, which adds them to a registry."""
        help_texts = {
            "megapixels": ("image_megapixels", "Height times width of an image."),
            "brightness": ("image_brightness", "Mean of an image's samples, 0 to 1."),
            "confidence": ("confidence", "Mean probability of the winning class over an image."),
            "review": ("review", "How much an image needs review: 1 minus its expected mean IoU."),
        }
        self._quantities = {name: histogram(*texts, ["model"], buckets=BOUNDS[name]) for name, texts in help_texts.items()}
        self._shares = histogram("class_share", "Share of an image by class.", ["model", "class"], buckets=SHARE_BOUNDS)

    def add(self, model: str, profile: Profile, observation: Observation) -> None:
        """Count one image of `model`."""
        for name, histogram in self._quantities.items():
            histogram.labels(model).observe(getattr(observation, name))
        for label, share in profile.label_shares(observation):
            self._shares.labels(model, label).observe(share)


class ModelCollector(Collector):
    """Gauges computed when the metrics are read: engines, their agreement, drift from the reference, and memory."""

    def __init__(self, models: Mapping[str, ModelWorkers], registry: CollectorRegistry) -> None:
        self._models = models
        self._windows: dict[str, Window] = {}
        registry.register(self)

    def add(self, model: str, profile: Profile, observation: Observation) -> None:
        """Add an image to the recent ones of `model`, if the model has a reference to compare them with."""
        if profile.reference is not None:
            window = self._windows.setdefault(model, Window(len(profile.classes)))
            window.add(observation)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges without values, which tells the registry their names."""
        yield from (_gauge(name) for name in _GAUGES)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        gauges = {name: _gauge(name) for name in _GAUGES}
        for name, model in self._models.items():
            if model.ready is not None:
                self._add_engine(gauges, name, model, model.ready.profile)
                self._add_drift(gauges, name, model.ready.profile)
            for worker in model.describe():
                _add_memory(gauges, [name, f"worker-{worker['id']}"], worker["pid"])
        _add_memory(gauges, ["", "front"], os.getpid())
        yield from gauges.values()

    def _add_engine(self, gauges: Mapping[str, Any], name: str, model: ModelWorkers, profile: Profile) -> None:
        labels = [name, profile.engine, profile.precision]
        gauges["engine_workers"].add_metric(labels, model.workers_ready)
        if profile.agreement is not None:
            agreement, required = profile.agreement
            gauges["engine_agreement"].add_metric(labels, agreement)
            gauges["engine_agreement_required"].add_metric(labels, required)

    def _add_drift(self, gauges: Mapping[str, Any], name: str, profile: Profile) -> None:
        if profile.reference is None:
            return
        reference = profile.reference.distribution
        window = self._windows.get(name)
        gauges["drift_reference_images"].add_metric([name], reference.images)
        gauges["drift_images"].add_metric([name], len(window) if window else 0)
        for quantity, distance in (drift(reference, window.distribution()) if window else {}).items():
            gauges["drift_distance"].add_metric([name, quantity], distance)


_ENGINE_LABELS = ("model", "engine", "precision")
#: Help text and labels of each gauge.
_GAUGES: Mapping[str, tuple[str, Sequence[str]]] = {
    "engine_workers": ("Workers that can answer, by inference engine.", _ENGINE_LABELS),
    "engine_agreement": ("Share of pixels that the engine labelled like torch in float32 at packaging.", _ENGINE_LABELS),
    "engine_agreement_required": ("Minimum agreement that packaging required.", _ENGINE_LABELS),
    "drift_reference_images": ("Images of the reference.", ["model"]),
    "drift_images": ("Recent images that are compared with the reference.", ["model"]),
    "drift_distance": ("Distance of recent images from the reference, 0 to 1.", ["model", "quantity"]),
    "resident_bytes": ("Resident memory of a process.", ["model", "process"]),
}


def _gauge(name: str) -> GaugeMetricFamily:
    text, labels = _GAUGES[name]
    return GaugeMetricFamily(f"deeplab_{name}", text, labels=labels)


def _add_memory(gauges: Mapping[str, Any], labels: Sequence[str], pid: object) -> None:
    """Add the memory of a process; skipped on systems other than Linux, and for a process that has ended."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(_STATM.format(pid)).read_text().split()[1])
        gauges["resident_bytes"].add_metric(labels, pages * os.sysconf("SC_PAGE_SIZE"))
