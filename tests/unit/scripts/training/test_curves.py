import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.training.watch.curves import draw_curves, smooth
from scripts.training.watch.run_log import EvaluationRow, RunLog, StepRow

pytestmark = pytest.mark.slow


def log_steps(folder: Path, *losses: float) -> None:
    with RunLog(folder) as log:
        for iteration, loss in enumerate(losses, start=1):
            log.step(StepRow(iteration, 0, loss, {"dice": loss / 2}, {"head": 0.1}))


def height(picture: Path) -> int:
    with Image.open(picture) as image:
        image.load()
        return image.height


def test_a_run_is_drawn_with_its_scores_once_it_has_any(tmp_path: Path) -> None:
    log_steps(tmp_path, 3, 2, 1)
    draw_curves(tmp_path, tmp_path / "pictures" / "before.png")

    with RunLog(tmp_path, resumed_at=3) as log:
        log.evaluation(EvaluationRow(3, 1, 0.5, 0.75))
    draw_curves(tmp_path, tmp_path / "pictures" / "after.png")

    assert height(tmp_path / "pictures" / "after.png") > height(tmp_path / "pictures" / "before.png")


@pytest.mark.parametrize("losses", [(1.0,), (math.nan,), (1.0, math.inf, math.nan, 2.0), (0.0, 0.0)])
def test_a_run_of_any_losses_can_be_drawn(tmp_path: Path, losses: tuple[float, ...]) -> None:
    log_steps(tmp_path, *losses)

    draw_curves(tmp_path, tmp_path / "curves.png")

    assert height(tmp_path / "curves.png") > 0


def test_scores_that_are_nan_can_be_drawn(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.step(StepRow(1, 0, 1))
        log.evaluation(EvaluationRow(1, 1, math.nan, math.nan))

    draw_curves(tmp_path, tmp_path / "curves.png")

    assert height(tmp_path / "curves.png") > 0


def test_a_run_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"steps\.csv"):
        draw_curves(tmp_path, tmp_path / "curves.png")


def test_smoothing_is_a_moving_average() -> None:
    assert smooth([0, 3, 6, 0, 0], 3).tolist() == [1.5, 3, 3, 2, 0]


@pytest.mark.parametrize("window", [0, 1, 2, 5, 100])
def test_smoothing_keeps_a_constant(window: int) -> None:
    np.testing.assert_allclose(smooth([2.5] * 7, window), [2.5] * 7)
