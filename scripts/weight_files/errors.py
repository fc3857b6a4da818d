"""The error of this package; see the tree in `scripts.errors`."""

from scripts.errors import UserError


class WeightsFileError(UserError):
    """A file does not hold the weights that are looked for."""
