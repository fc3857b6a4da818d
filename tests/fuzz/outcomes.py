"""Check that an error is documented and reveals nothing about the server."""

import json
import re
import sys
import tempfile
from pathlib import Path

from handler.errors import SegmentationError
from handler.request.protocols import Reply
from tests.support import ROOT

STATUSES = {400, 413, 415, 501}
MAX_MESSAGE_LENGTH = 2_000
_SECRETS = ("Traceback", 'File "', str(ROOT), str(Path(sys.prefix).resolve()), sys.prefix, tempfile.gettempdir() + "/")
_ADDRESS_OR_SOURCE = re.compile(r" at 0x[0-9a-f]{6,}|<_io\.|site-packages|\w\.py\b")


def require_documented(error: SegmentationError) -> None:
    """Check the status and the message of an error."""
    assert type(error).status in STATUSES, f"{type(error).__name__} has status {type(error).status}"
    require_discreet(str(error))


def require_discreet(message: str) -> None:
    """Check that a message is short enough to read and reveals no path, source or address."""
    assert len(message) <= MAX_MESSAGE_LENGTH, f"{len(message)} characters: {message[:100]!r}"
    assert message.strip()
    for secret in _SECRETS:
        assert secret not in message, message
    assert not _ADDRESS_OR_SOURCE.search(message), message


def require_refusal(reply: Reply) -> None:
    """Check the encoded form of an error."""
    answer = json.loads(reply.body.decode("utf-8"))
    assert reply.content_type == "application/json"
    assert {"code", "type", "message"} <= set(answer)
    assert answer["code"] in STATUSES, answer
