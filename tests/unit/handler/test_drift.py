"""Distances between distributions of images, compared with hand-computed values and with random samples."""

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.drift import RECENT_IMAGES, Reference, Window, collect, distance, drift
from handler.observation import BOUNDS, Observation
from handler.profile import MAX_LABELS, OTHER_LABEL, Profile

WEIGHTS = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)


def image(brightness: float = 0.5, shares: dict[int, float] | None = None, confidence: float = 0.9) -> Observation:
    return Observation(1.0, brightness, confidence, 0.1, shares or {0: 1.0})


@given(WEIGHTS, st.integers(1, 1000), st.integers(1, 1000))
def test_a_distribution_has_distance_0_from_itself(weights: list[int], images: int, other_images: int) -> None:
    assert distance(weights, [3 * weight for weight in weights], (images, other_images)) == 0


@given(WEIGHTS, WEIGHTS, st.integers(1, 1000))
def test_a_distance_is_symmetric_and_between_0_and_1(first: list[int], second: list[int], images: int) -> None:
    forward, backward = distance(first, second, (images, 50)), distance(second, first, (50, images))

    assert forward == pytest.approx(backward)
    assert 0 <= forward <= 1


def test_for_many_images_the_distance_is_jensen_shannons() -> None:
    expected = math.sqrt((0.5 * math.log2(0.5 / 0.375) + 0.5 * math.log2(0.5 / 0.625) + 0.25 * math.log2(0.25 / 0.375)
                          + 0.75 * math.log2(0.75 / 0.625)) / 2)  # fmt: skip

    assert distance([1, 1], [1, 3], (10**9, 10**9)) == pytest.approx(expected, abs=1e-6)


def test_disjoint_distributions_are_far_even_with_few_images() -> None:
    assert distance([1, 0], [0, 1], (10**9, 10**9)) == pytest.approx(1)
    assert distance([7, 0], [0, 7], (7, 7)) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(("images", "max_distance"), [(20, 0.45), (100, 0.3), (500, 0.15)])
def test_samples_of_one_distribution_are_seldom_far_apart(images: int, max_distance: float) -> None:
    draw = random.Random(images)  # noqa: S311

    def sample() -> Sequence[int]:
        bins = [draw.choices(range(8), range(1, 9))[0] for _ in range(images)]
        return [bins.count(position) for position in range(8)]

    distances = [distance(sample(), sample(), (images, images)) for _ in range(300)]

    assert sum(value > 0 for value in distances) < 0.1 * 300
    assert max(distances) < max_distance


def test_a_window_drops_the_oldest_images_completely() -> None:
    window = Window(3, max_images=4)
    for _ in range(10):
        window.add(image(0.05, {1: 1 / 3, 2: 2 / 3}, 0.2))
    for _ in range(4):
        window.add(image())

    assert len(window) == 4
    assert window.distribution() == collect([image()] * 4, 3)


def test_a_window_holds_the_documented_number_of_images() -> None:
    window = Window(1)
    for _ in range(RECENT_IMAGES + 3):
        window.add(image())

    assert window.distribution().images == RECENT_IMAGES
    assert [sum(counts) for counts in window.distribution().bins.values()] == [RECENT_IMAGES] * len(BOUNDS)


def test_only_what_changed_drifts() -> None:
    reference = collect([image(0.5, {0: 0.7, 1: 0.3})] * 100, 3)

    darkened = drift(reference, collect([image(0.15, {0: 0.7, 1: 0.3})] * 100, 3))
    other_classes = drift(reference, collect([image(0.5, {2: 1.0})] * 100, 3))

    assert (darkened["megapixels"], darkened["confidence"], darkened["classes"]) == (0, 0, 0)
    assert darkened["brightness"] > 0.9
    assert other_classes["classes"] > 0.9
    assert other_classes["brightness"] == 0


def test_without_images_there_is_no_distance() -> None:
    assert drift(collect([image()], 2), Window(2).distribution()) == {}


def test_labels_are_limited_and_keep_the_classes_of_the_reference() -> None:
    names = [f"class {index}" for index in range(300)]
    photographs = [image(shares={299: 0.6, 150: 0.4})] * 3
    profile = Profile(names, "e", "float32", reference=Reference("photographs", collect(photographs, 300)))

    assert len(set(profile.labels)) == MAX_LABELS
    assert (profile.labels[299], profile.labels[150], profile.labels[0], profile.labels[298]) == (
        "class 299", "class 150", "class 0", OTHER_LABEL,
    )  # fmt: skip
    shares = dict(profile.label_shares(image(shares={299: 0.5, 298: 0.25, 297: 0.25})))
    assert (shares["class 299"], shares[OTHER_LABEL], shares["class 150"]) == (0.5, 0.5, 0)


def test_a_model_with_few_classes_keeps_all_of_them() -> None:
    names = [f"class {index}" for index in range(MAX_LABELS)]

    assert Profile(names, "e", "float32").labels == names
