import importlib
import pkgutil

import pytest

import scripts
from handler.errors import InvalidRequest
from model import CheckpointError
from model.strict import ConfigurationError
from scripts import errors
from scripts.errors import UsageError, UserError, report_errors

#: The probe runs inside an archive.
NOT_IMPORTABLE = ("scripts.archive_probe",)
#: Packages of the extra `label-studio`.
EXTRAS = {"pyarrow", "defusedxml", "starlette", "uvicorn"}


@report_errors
def fail(error: BaseException | None) -> int:
    if error:
        raise error
    return 0


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("no such archive"), 1, "error: no such archive\n"),
        (UsageError("give --data"), 2, "error: give --data\n"),
        (CheckpointError("a.safetensors: 3 keys"), 1, "error: a.safetensors: 3 keys\n"),
        (ConfigurationError("unknown key"), 1, "error: unknown key\n"),
        (InvalidRequest("no image"), 1, "error: no image\n"),
        (FileNotFoundError(2, "No such file or directory", "a.yaml"), 1, "error: a.yaml: No such file or directory\n"),
        (OSError("the disk is full"), 1, "error: the disk is full\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_an_error_for_the_user_is_printed_and_gives_the_exit_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(error) == code
    assert capsys.readouterr().err == message


def test_without_an_error_the_programs_exit_code_is_returned() -> None:
    assert fail(None) == 0


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


def import_if_installed(name: str) -> None:
    """Import a module of `scripts`; the packages of an extra may be missing."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise


def test_the_tree_in_the_docstring_names_every_family() -> None:
    modules = [info.name for info in pkgutil.walk_packages(scripts.__path__, "scripts.")]
    for name in modules:
        if not name.startswith(NOT_IMPORTABLE):
            import_if_installed(name)

    # Another test may have imported benchmarks, whose errors derive from UserError too.
    families = {family.__name__ for family in UserError.__subclasses__() if family.__module__.startswith("scripts.")}

    assert {name for name in families if f"─ {name} " not in (errors.__doc__ or "")} == set()
