"""Errors whose messages are meant for the user at the terminal, and how programs report them.

UserError
├── UsageError                options do not fit together (exit code 2)
├── ServerError               a server cannot be started, or did not become READY
├── JavaNotFound              no Java 17 or newer
├── InstallationError         PyTorch cannot be installed as requested
├── ArchiveError              a packaged archive does not work by itself
├── MarksMissing              a document lacks the marks around its tables
├── TextFileError             a file is not text
├── ClassNamesError           a file does not hold class names
├── DataError                 a data set cannot be used
├── PredictionError           a model cannot be evaluated
├── ExportError               a model cannot be exported, or its export differs from torch
├── QuantizationRefused       a quantized network lost too much accuracy
├── ImportFailed              weights cannot be imported
├── WeightsFileError          a file does not hold weights
├── BackboneWeightsError      a backbone's weights cannot be obtained, or belong to another backbone
├── Diverged                  a training run's loss is no longer finite
├── ClassCountMismatch        weights are for a different number of classes
├── SegmentingError           a folder of photographs cannot be segmented
├── FunctionError             a CVAT task cannot be annotated
├── SigningError              an archive cannot be signed, or its signature is missing or invalid
├── BackendError              the Label Studio backend cannot start, or cannot answer a call
├── RasterError               a raster cannot be read, or cannot be segmented as requested
├── BulkError                 a bulk run's source or destination cannot be used
├── TooManyLost               one process after another ended while segmenting images
├── NothingAnswered           one image after another failed for a reason that is not in the image
└── AnswerError               a server did not answer with a segmentation

`model` and `handler` have separate trees (CheckpointError, ConfigurationError, SegmentationError), which cannot derive from a
class in `scripts`. `report_errors` treats them the same way, and OSError too, whose message names the file.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

FAILURE, USAGE, INTERRUPTED = 1, 2, 130

P = ParamSpec("P")


class UserError(Exception):
    """Something the user can fix. The message says what was wrong, its value, and what would be right."""


class UsageError(UserError):
    """Command-line options are wrong or do not fit together."""


def report_errors(main: Callable[P, int]) -> Callable[P, int]:
    """Decorate a program's `main` to print errors meant for the user as one message and return the exit code.

    Any other exception is a bug and keeps its traceback. Ctrl-C gives 130, as in a shell.
    """

    @wraps(main)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except KeyboardInterrupt:
            print_error("interrupted")
            return INTERRUPTED
        except Exception as error:
            if not _is_for_user(error):
                raise
            print_error(_message(error))
            return USAGE if isinstance(error, UsageError) else FAILURE

    return reporting


def print_error(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)


def print_warning(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _is_for_user(error: Exception) -> bool:
    if isinstance(error, UserError | OSError):
        return True
    # Not at the top: these import pydantic, which `make stop` should not have to wait for.
    from handler.errors import SegmentationError
    from model.checkpoint_file import CheckpointError
    from model.strict import ConfigurationError

    return isinstance(error, CheckpointError | ConfigurationError | SegmentationError)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
