"""The small form of the serving benchmark; its figures are meaningless.

It takes a minute of processor time, so it runs only with `--exhaustive`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Imports PyTorch's and matplotlib's tools, which takes seconds in every process that collects tests.
    from benchmarks.serving.__main__ import main

    folder = tmp_path_factory.mktemp("bench")
    assert main(["--small", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def measured(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "bench.json").read_text())
    return content


def headings(out: Path) -> list[str]:
    return [line[3:] for line in (out / "bench.md").read_text().splitlines() if line.startswith("## ")]


def test_sections_of_the_report_are_in_order(out: Path) -> None:
    assert headings(out) == [
        "Servers around one network",
        "Models, by the server without Java",
        "Requests, live",
        "Outside the network",
        "Stages, milliseconds",
        "Engines",
        "Start",
        "Many images",
        "Targets",
    ]


def test_the_bar_chart_is_a_png(out: Path) -> None:
    with Image.open(out / "bench.png") as picture:
        assert picture.format == "PNG"


def test_both_sides_give_the_same_labels(measured: dict[str, Any]) -> None:
    for bundle in measured["results"]["requests"]["bundle"]:
        assert bundle["gain"]["agreement"] > 0.999


def test_ratios_are_positive(measured: dict[str, Any]) -> None:
    for bundle in measured["results"]["requests"]["bundle"]:
        assert bundle["gain"]["faster"] > 0
        assert bundle["gain"]["smaller"] > 1
    for overhead in measured["overhead"]:
        assert overhead["share_of_bare_throughput"] > 0


def test_models_have_times_and_quality(measured: dict[str, Any]) -> None:
    (run,) = measured["results"]["models"]

    assert 0 < run["network"]["median"] < run["request"]["median"]
    assert run["quality"] == {"data": "PASCAL VOC 2012 val, 235 images", "miou": 0.6465, "pixel_accuracy": 0.9524}


def test_starts_have_times_and_memory(measured: dict[str, Any]) -> None:
    for start in measured["results"]["starts"]:
        assert 0 < start["worker"]["median"] < start["server"]["median"]
        assert 0 < start["memory"]["resident"] <= start["memory"]["peak"]


def test_stages_take_no_longer_than_the_answer(measured: dict[str, Any]) -> None:
    for answer in measured["results"]["stages"]:
        assert list(answer["stages"]) == ["decode", "prepare", "network", "label", "encode"]
        assert sum(stage["median"] for stage in answer["stages"].values()) <= answer["total"]["median"]


def test_compared_servers_answer_and_include_their_workers(measured: dict[str, Any]) -> None:
    comparison = measured["results"]["servers"]

    assert [server["name"] for server in comparison["servers"]] == ["this server"]
    for server in comparison["servers"]:
        assert server["answer_bytes"] > 0
        assert server["first_answer_s"] > 0
        # A front process and a worker.
        assert server["first_resident"] > 100_000_000


def test_bulk_runs_are_compared_with_the_bare_engine(measured: dict[str, Any]) -> None:
    (run,) = measured["results"]["bulk"]["runs"]

    assert run["per_second"]["median"] > 0
    assert run["seconds"]["median"] > 0
    assert measured["results"]["bulk"]["bare_engine"]["median"] > 0


def test_figures_of_small_runs_are_not_compared_with_targets(measured: dict[str, Any]) -> None:
    assert all(target["figure"] is None for target in measured["targets"])
