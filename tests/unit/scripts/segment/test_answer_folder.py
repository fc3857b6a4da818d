from pathlib import Path

import pytest

from scripts.segment.answer_folder import AnswerFolder, Conditions
from scripts.segment.errors import SegmentingError
from scripts.segment.inputs import Photograph
from scripts.segment.output_paths import Task

URL = "http://127.0.0.1:8080/predictions/deeplabv3"
CONDITIONS = Conditions.from_request(URL, "png", {"scales": "0.75,1"})


def save(root: Path, conditions: Conditions = CONDITIONS) -> Path:
    task = Task(Photograph(Path("a.jpg"), "a.jpg"), root / "deep" / "a.png")
    AnswerFolder(root, conditions).save(task, b"answer")
    return task.answer


def test_saving_an_answer_leaves_no_other_file(tmp_path: Path) -> None:
    answer = save(tmp_path / "out")

    assert answer.read_bytes() == b"answer"
    assert list(answer.parent.iterdir()) == [answer]


@pytest.mark.parametrize(
    "conditions",
    [CONDITIONS, Conditions.from_request("https://elsewhere.example/predictions/deeplabv3", "png", {"scales": "0.75,1"})],
    ids=["the same", "another host"],
)
def test_a_run_continues_under_the_same_conditions(tmp_path: Path, conditions: Conditions) -> None:
    save(tmp_path)

    AnswerFolder(tmp_path, conditions).check_conditions()


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions.from_request(URL, "index", {"scales": "0.75,1"}),
        Conditions.from_request(URL, "png", {}),
        Conditions.from_request(URL.replace("deeplabv3", "roofs"), "png", {"scales": "0.75,1"}),
    ],
    ids=["another format", "other options", "another model"],
)
def test_a_folder_with_answers_of_other_conditions_is_refused(tmp_path: Path, conditions: Conditions) -> None:
    save(tmp_path)

    with pytest.raises(SegmentingError, match=r"holds answers to another request.*give another --out") as caught:
        AnswerFolder(tmp_path, conditions).check_conditions()

    assert str(caught.value).splitlines()[1:] == [f"  then: {CONDITIONS}", f"  now:  {conditions}"]


def test_the_order_of_options_makes_no_difference(tmp_path: Path) -> None:
    options, reordered = ({"flip": "true", "scales": "1"}, {"scales": "1", "flip": "true"})
    save(tmp_path, Conditions.from_request(URL, "png", options))

    AnswerFolder(tmp_path, Conditions.from_request(URL, "png", reordered)).check_conditions()


def test_a_new_folder_has_no_conditions(tmp_path: Path) -> None:
    AnswerFolder(tmp_path / "new", CONDITIONS).check_conditions()


def test_an_invalid_record_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".segment.json").write_text("{}")

    with pytest.raises(SegmentingError, match=r"\.segment\.json: cannot be read"):
        AnswerFolder(tmp_path, CONDITIONS).check_conditions()


def test_an_answer_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "deep").touch()

    with pytest.raises(SegmentingError, match=r"deep/a\.png: cannot be written: "):
        save(tmp_path)
