"""This package's error; see the tree in `scripts.errors`."""

from scripts.errors import UserError


class WeightsFileError(UserError):
    """A file does not hold the requested weights."""
