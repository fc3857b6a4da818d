import pytest

from benchmarks.serving.__main__ import main
from scripts.errors import USAGE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sections", "stage"], "'stage', did you mean 'stages'"),
        (["--repetitions", "0"], "'0'"),
    ],
)
def test_invalid_options_are_reported(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == USAGE

    assert message in capsys.readouterr().err
