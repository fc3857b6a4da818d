"""The errors of this program.

BackendError
├── PackageMissing      the extra of this program is not installed
├── AddressUnusable     another program listens at the address, or it is not this machine's
├── InvalidCall         a call is not what Label Studio would send
├── LabelConfigError    a project's labelling configuration cannot be served
├── TaskError           one task cannot be answered; others may be
│   └── ImageNotFound   its image is not where it says
└── NoTaskAnswered      no task of a call could be answered
"""

from scripts.errors import UserError


class BackendError(UserError):
    """The program cannot start, or cannot answer a call."""


class PackageMissing(BackendError):
    """The extra of this program is not installed."""


class AddressUnusable(BackendError):
    """Another program listens at the address, or it is not this machine's."""


class InvalidCall(BackendError):
    """A call is not what Label Studio would send."""


class LabelConfigError(BackendError):
    """The labelling configuration is malformed, or has no tag that a segmentation can fill."""


class TaskError(BackendError):
    """A task has no image, or its image cannot be fetched."""


class ImageNotFound(TaskError):
    """The server that should have the image answers 404."""


class NoTaskAnswered(BackendError):
    """Every task of the call failed; Label Studio then stores nothing, and asks again."""
