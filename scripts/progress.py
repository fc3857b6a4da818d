"""Progress on a terminal, alike in all programs."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], doing: str, *, total: int | None = None, done: int = 0, visible: bool = True
) -> "tqdm[Item]":
    """Iterate over `items` and show on standard error how far that is; nothing is shown where that is no terminal.

    Args:
        items: images, or what is made of them.
        doing: a participle, such as "evaluating".
        total: number of items together with `done`; by default the length of `items`.
        done: items that an earlier run has done.
        visible: False shows nothing.
    """
    # tqdm takes disable=None for "only on a terminal".
    disable = None if visible else True
    return tqdm(items, doing, total, initial=done, unit="image", leave=False, file=sys.stderr, disable=disable)
