"""The error that all of this package raises."""

from scripts.errors import UserError


class ExportError(UserError):
    """A model cannot be exported, or its export labels too many pixels unlike torch."""
