"""Write and read a run's state, from which it resumes exactly."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.atomic import write_atomically
from model.strict import ConfigurationError

STATE_FILE = "state.pt"


@dataclass(frozen=True)
class RunState:
    """The state of a run after `iteration` steps."""

    iteration: int
    #: Mean IoU of the last evaluation.
    miou: float
    #: The best selection score so far, and the iteration that reached it.
    best: float | None
    best_iteration: int | None
    #: The run's configuration, as JSON.
    config: str
    #: The trainer's state: weights, momenta, averages.
    trainer: dict[str, Any]


def write_state(folder: Path, state: RunState) -> None:
    """Replace the last state with `state`, atomically."""
    content = io.BytesIO()
    torch.save(vars(state), content)
    write_atomically(folder / STATE_FILE, content.getvalue())


def read_state(folder: Path, config: str) -> RunState:
    """Read the last state in `folder`, unpickling only tensors and plain values.

    Raises:
        ConfigurationError: there is no state, it cannot be read, or its configuration differs from `config`.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise ConfigurationError(f"{path}: does not exist, so there is nothing to resume; leave out --resume to start a run")
    try:
        state = RunState(**torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
        raise ConfigurationError(f"{path}: is not the state of a run: {error}") from error
    if state.config != config:
        raise ConfigurationError(f"{path}: has another configuration; resume it with {folder / 'config.json'}")
    return state
