"""Progress bars, the same in all programs."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], description: str, *, total: int | None = None, done: int = 0, visible: bool = True
) -> "tqdm[Item]":
    """Iterate over `items` with a progress bar on standard error, if that is a terminal.

    Args:
        items: images, or results for images.
        description: shown before the bar, such as "evaluating".
        total: number of items including `done`; by default the length of `items`.
        done: number of items that an earlier run completed.
        visible: whether to show the bar at all.
    """
    # disable=None makes tqdm show the bar only on a terminal.
    disable = None if visible else True
    return tqdm(items, description, total, initial=done, unit="image", leave=False, file=sys.stderr, disable=disable)
