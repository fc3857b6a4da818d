"""The benchmark's small form, for correctness: what it measures means nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.serving.__main__ import main


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    assert main(["--small", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def measured(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "bench.json").read_text())
    return content


def test_every_section_has_a_table(out: Path) -> None:
    headings = [line[3:] for line in (out / "bench.md").read_text().splitlines() if line.startswith("## ")]

    assert headings == ["Requests, live", "Around the network", "Stages, milliseconds", "Engines", "Start", "To reach"]


def test_bars_are_a_picture(out: Path) -> None:
    with Image.open(out / "bench.png") as picture:
        assert picture.format == "PNG"


def test_both_sides_give_the_same_labels(measured: dict[str, Any]) -> None:
    for ours in measured["results"]["requests"]["ours"]:
        assert ours["gain"]["agreement"] > 0.999


def test_ratios_are_positive(measured: dict[str, Any]) -> None:
    for ours in measured["results"]["requests"]["ours"]:
        assert ours["gain"]["faster"] > 0
        assert ours["gain"]["smaller"] > 1
    for around in measured["around"]:
        assert around["share_of_bare_throughput"] > 0


def test_stages_add_up_to_the_whole_answer(measured: dict[str, Any]) -> None:
    for each in measured["results"]["stages"]:
        assert list(each["stages"]) == ["decode", "prepare", "network", "label", "encode"]
        assert sum(stage["median"] for stage in each["stages"].values()) <= each["total"]["median"]


def test_no_figure_of_the_small_form_passes_for_one_that_is_to_be_reached(measured: dict[str, Any]) -> None:
    assert all(each["figure"] is None for each in measured["targets"])
