import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from handler.network.engines.replays import Forward, Replays, Shape


class Recorder:
    """A capture that records the requested shapes, with replays that add 1 to the network's answer."""

    def __init__(self) -> None:
        self.shapes: list[Shape] = []

    def __call__(self, forward: Forward, shape: Shape) -> Forward:
        self.shapes.append(shape)
        return lambda pixels: forward(pixels) + 1


def network(pixels: Tensor) -> Tensor:
    return pixels.float().mean((1, 2, 3))


def failing_capture(*_: object) -> Forward:
    raise RuntimeError("operation not permitted when stream is capturing")


def run(replays: Callable[[Tensor], Tensor], *sizes: tuple[int, int], images: int = 1) -> list[float]:
    """Return the first answer to grey images of each size."""
    return [float(replays(torch.full((images, *size, 3), 7, dtype=torch.uint8))[0]) for size in sizes]


def test_a_shape_is_captured_the_second_time_and_then_replayed() -> None:
    recorder = Recorder()

    answers = run(Replays(network, recorder), (2, 3), (2, 3), (2, 3))

    assert answers == [7, 8, 8]
    assert recorder.shapes == [(1, 2, 3, 3)]


def test_shapes_that_occur_once_are_not_captured() -> None:
    recorder = Recorder()

    run(Replays(network, recorder), *((1, width) for width in range(1, 50)))

    assert recorder.shapes == []


def test_each_batch_size_is_captured_separately() -> None:
    recorder = Recorder()
    replays = Replays(network, recorder)

    for images in (1, 2, 1, 2):
        run(replays, (2, 3), images=images)

    assert recorder.shapes == [(1, 2, 3, 3), (2, 2, 3, 3)]


def test_the_most_recently_used_graphs_are_kept() -> None:
    recorder = Recorder()
    replays = Replays(network, recorder, max_graphs=2)
    first, second, third = (1, 1), (1, 2), (1, 3)

    run(replays, first, first, second, second, first, third, third, first, second)

    assert [shape[1:3] for shape in recorder.shapes] == [first, second, third, second]


def test_large_inputs_are_never_captured() -> None:
    recorder = Recorder()

    answers = run(Replays(network, recorder), (2048, 2049), (2048, 2049), (2048, 2049))

    assert answers == pytest.approx([7, 7, 7])
    assert recorder.shapes == []


def test_if_capturing_fails_the_network_still_runs_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answers = run(Replays(network, failing_capture), (2, 3), (2, 3), (2, 3), (4, 5), (4, 5))

    assert answers == [7, 7, 7, 7, 7]
    (record,) = caplog.records
    assert "without CUDA graphs" in record.message
    assert record.exc_info is not None
    assert "stream is capturing" in str(record.exc_info[1])
