from pathlib import Path

from PIL import Image

from benchmarks.size_curve import Point, draw, table, time_in_turns
from handler.network.engines import Logits, Pixels
from model import ResizePolicy
from tests.engines import MirrorEngine
from tests.support import metadata

POINTS = [Point(320, 0.6, 0.9, 30, 50), Point(640, 0.65, 0.95, 120, 200)]


class RecordingEngine(MirrorEngine):
    """Records the size of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def logits(self, pixels: Pixels) -> Logits:
        self.sizes.append(pixels.shape[1:3])
        return super().logits(pixels)


def test_sizes_are_timed_alternately() -> None:
    engine = RecordingEngine()

    times = time_in_turns(engine, metadata(resize=ResizePolicy(side="long", size=64)), [32, 64], rounds=2)

    assert engine.sizes == [(24, 32), (48, 64)] * 3
    assert times.keys() == {32, 64}


def test_times_are_also_relative_to_the_usual_size() -> None:
    *_, smaller, usual = table(POINTS, 640).splitlines()

    assert smaller == "| 320 | 60.00 | 90.00 | 30.0 | 0.25 | 50.0 | 0.25 |"
    assert usual == "| 640 | 65.00 | 95.00 | 120.0 | 1.00 | 200.0 | 1.00 |"


def test_the_plot_is_a_small_png(tmp_path: Path) -> None:
    draw(tmp_path / "curve.png", POINTS, 640)

    with Image.open(tmp_path / "curve.png") as plot:
        assert plot.format == "PNG"
    assert (tmp_path / "curve.png").stat().st_size < 100_000
