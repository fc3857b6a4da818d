"""What ends a run."""


class SegmentingError(RuntimeError):
    """Files cannot be segmented as asked. The message says in a sentence what is wrong and what would be right."""
