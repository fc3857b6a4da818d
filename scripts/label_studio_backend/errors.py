"""The errors of this program.

BackendError
├── LabelConfigError    a project's labelling configuration cannot be served
├── TaskError           one task cannot be answered; others may be
│   └── ImageNotFound   its image is not where it says
└── NoTaskAnswered      no task of a call could be answered
"""

from scripts.errors import UserError


class BackendError(UserError):
    """A call of Label Studio cannot be answered."""


class LabelConfigError(BackendError):
    """The labelling configuration is malformed, or has no tag that a segmentation can fill."""


class TaskError(BackendError):
    """A task has no image, or its image cannot be fetched."""


class ImageNotFound(TaskError):
    """The server that should have the image answers 404."""


class NoTaskAnswered(BackendError):
    """Every task of the call failed; Label Studio then stores nothing, and asks again."""
