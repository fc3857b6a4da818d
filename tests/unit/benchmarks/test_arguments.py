import pytest

from benchmarks.serving.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sections", "stage"], "unknown section 'stage', did you mean 'stages'"),
        (["--repetitions", "0"], "'0' must be a whole number, 1 or more"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

    assert said in capsys.readouterr().err
