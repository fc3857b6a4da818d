"""This program's error."""

from scripts.errors import UserError


class SegmentingError(UserError):
    """A file or folder cannot be used for photographs or answers."""
