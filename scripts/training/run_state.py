"""The state of a run on disk: enough to go on as if nothing had happened."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.atomic import write_atomically
from model.strict import ConfigurationError

NAME = "state.pt"


@dataclass(frozen=True)
class RunState:
    """Where a run stands after `iteration` steps."""

    iteration: int
    #: Mean IoU of the last evaluation.
    miou: float
    #: The best selection score so far, and the iteration that reached it.
    best: float | None
    best_iteration: int | None
    #: The configuration it was begun with, as JSON.
    config: str
    #: The trainer's: weights, momenta, averages.
    trainer: dict[str, Any]


def write_state(folder: Path, state: RunState) -> None:
    """Put `state` in the place of the last one, whole or not at all."""
    content = io.BytesIO()
    torch.save(vars(state), content)
    write_atomically(folder / NAME, content.getvalue())


def read_state(folder: Path, config: str) -> RunState:
    """The last state written to `folder`. Only tensors and plain values are unpickled.

    Raises:
        ConfigurationError: there is none, it cannot be read, or it is of a run of another configuration.
    """
    path = folder / NAME
    if not path.is_file():
        raise ConfigurationError(f"{path}: no state to resume from; leave out --resume to begin")
    try:
        state = RunState(**torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
        raise ConfigurationError(f"{path}: no state of a run: {error}") from error
    if state.config != config:
        raise ConfigurationError(f"{path}: of a run of another configuration; resume it with its own, {folder / 'config.json'}")
    return state
