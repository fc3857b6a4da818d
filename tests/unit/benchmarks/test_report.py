"""Tables and bar charts of benchmark results."""

import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.serving.report.bar_chart import draw
from benchmarks.serving.report.machine import Machine
from benchmarks.serving.report.markdown_tables import write_report
from benchmarks.serving.report.targets import targets
from benchmarks.serving.results import Results
from tests.unit.benchmarks.support import FULL_RESULTS, answer_stages, bulk_comparison, server_comparison

MACHINE = Machine("a processor", 2, ("avx2",), 16_000_000_000, "Linux")


def markdown(results: Results) -> str:
    return write_report(results, targets(results), MACHINE, {"python": "3.11.7"})


def test_table_rows_have_as_many_cells_as_the_header() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", markdown(FULL_RESULTS), flags=re.M):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_report_names_machine_and_versions() -> None:
    text = markdown(Results())

    assert "a processor, 2 cores (avx2), 16 GB of memory, Linux; python 3.11.7" in text


def test_a_comparison_lists_both_sides_in_consecutive_rows() -> None:
    rows = [line for line in markdown(FULL_RESULTS).splitlines() if line.startswith(("| TorchServe's", "| deeplabv3_resnet50"))]

    assert "3,000 ms" in rows[0]
    assert "300 ms" in rows[1]
    assert "10.0 ×" in rows[1]
    assert "1,000 ×" in rows[1]


def test_a_server_is_compared_with_the_engine_and_with_the_answer_alone() -> None:
    (row,) = (line for line in markdown(FULL_RESULTS).splitlines() if line.startswith("| this server |"))

    assert [cell.strip() for cell in row.split("|")[3:5]] == ["3.5 ms", "1.5 ms"]
    assert "91.0 %" in row


def test_a_models_row_has_its_time_and_quality() -> None:
    (row,) = (line for line in markdown(FULL_RESULTS).splitlines() if line.startswith("| scenes, torch float32 |"))

    assert [cell.strip() for cell in row.split("|")[4:10]] == [
        "10.0 ms",
        "640×496",
        "0.696",
        "89.2 %",
        "64 photographs",
        "4.8 MB",
    ]


def test_servers_that_are_not_installed_are_listed() -> None:
    text = markdown(Results(servers=server_comparison(0.01, 100, ("LitServe",))))

    assert "Not installed, so not measured: LitServe." in text


def test_a_bulk_run_is_compared_with_both_ways_to_run_the_engine_alone() -> None:
    text = markdown(Results(bulk=bulk_comparison(9.6, ("ray",))))

    (row,) = (line for line in text.splitlines() if line.startswith("| scripts.bulk --engine local |"))
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["9.6 (9.6–9.6)", "96.0 %", "80.0 %"]
    assert "Not installed, so not measured: ray." in text


@pytest.mark.parametrize(
    "results", [FULL_RESULTS, Results(stages=(answer_stages((640, 491)),))], ids=["everything", "one section"]
)
def test_a_bar_chart_is_drawn_for_the_sections_that_were_run(results: Results, tmp_path: Path) -> None:
    draw(tmp_path / "bars.png", results)

    with Image.open(tmp_path / "bars.png") as picture:
        assert picture.format == "PNG"
