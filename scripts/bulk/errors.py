"""The errors of this program."""

from scripts.errors import UserError


class BulkError(UserError):
    """A source or a destination cannot be used; no further image would fare better."""


class ReadError(BulkError):
    """A file cannot be read, at least now."""


class FileTooLarge(ReadError):
    """A file has more bytes than an image may have; they were not read."""


class NameNotPossible(BulkError):
    """A destination cannot have a file of this name; other names may do."""
