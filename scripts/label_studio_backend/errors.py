"""This program's errors.

BackendError
├── PackageMissing      this program's extra is not installed
├── AddressUnusable     the address is in use by another program, or does not belong to this machine
├── InvalidCall         a call is not what Label Studio would send
├── LabelConfigError    a project's labelling configuration cannot be served
├── TaskError           one task cannot be answered; others may still be
│   └── ImageNotFound   the task's image is not at its address
└── NoTaskAnswered      no task of a call could be answered
"""

from scripts.errors import UserError


class BackendError(UserError):
    """The program cannot start, or cannot answer a call."""


class PackageMissing(BackendError):
    """This program's extra is not installed."""


class AddressUnusable(BackendError):
    """The address is in use by another program, or does not belong to this machine."""


class InvalidCall(BackendError):
    """A call is not what Label Studio would send."""


class LabelConfigError(BackendError):
    """The labelling configuration is malformed, or has no tag that a segmentation can fill."""


class TaskError(BackendError):
    """A task has no image, or its image cannot be fetched."""


class ImageNotFound(TaskError):
    """The server that should have the image answered 404."""


class NoTaskAnswered(BackendError):
    """Every task of the call failed; Label Studio then stores nothing and asks again."""
