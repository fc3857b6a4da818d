"""What ends a run."""

from scripts.errors import UserError


class SegmentingError(UserError):
    """Files cannot be segmented as asked. The message says in a sentence what is wrong and what would be right."""
