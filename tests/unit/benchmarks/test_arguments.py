import pytest

from benchmarks.serving.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sections", "stage"], "unknown section 'stage', did you mean 'stages'"),
        (["--repetitions", "0"], "'0'"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

    assert message in capsys.readouterr().err
