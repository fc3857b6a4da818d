"""This package's error."""

from scripts.errors import UserError


class ExportError(UserError):
    """A model cannot be exported, or its export labels too many pixels differently from torch."""
