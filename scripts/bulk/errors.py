"""This program's errors."""

from scripts.errors import UserError


class BulkError(UserError):
    """A source or a destination cannot be used, which affects every further image."""


class ReadError(BulkError):
    """A file cannot be read, at least not now."""


class FileTooLarge(ReadError):
    """A file has more bytes than an image may have, so it was not read."""


class NameNotPossible(BulkError):
    """A destination cannot have a file with this name; other names may work."""
