"""Find served models and describe them in the words of KServe v2: what HTTP and gRPC share."""

from collections.abc import Mapping
from typing import Any

from handler.servers.asgi.errors import ModelNotFound, ModelNotReady
from handler.servers.asgi.workers import ModelWorkers
from handler.version import VERSION

#: The server's metadata.
SERVER = {"name": "deeplab-serve", "version": VERSION, "extensions": ["binary_tensor_data"]}
#: Base64 in JSON takes a third more than the image, and the rest of the JSON or form some room.
_BYTES_BESIDE_IMAGE = 1 << 20
#: Bytes of an image, while no worker has said how many its model takes.
MOST_IMAGE_BYTES = 32_000_000


def find_model(models: Mapping[str, ModelWorkers], name: str, version: str | None = None) -> ModelWorkers:
    """Return the model called `name`; `version` None: in any version.

    Raises:
        ModelNotFound: it is not served, or not in this version.
    """
    model = models.get(name)
    if model is None:
        raise ModelNotFound(f"there is no model {name[:80]!r} here; those served are {', '.join(models)}")
    served = model.ready.model_version if model.ready else None
    if version is not None and served is not None and version != served:
        raise ModelNotFound(f"model {name!r} is not served in version {version[:80]!r}, but in {served!r}")
    return model


def describe_model(model: ModelWorkers) -> dict[str, Any]:
    """Return the model's metadata.

    Raises:
        ModelNotReady: no worker has loaded it yet.
    """
    if model.ready is None:
        raise ModelNotReady(f"model {model.settings.model!r} is not loaded yet")
    name, ready = model.settings.model, model.ready
    return {"name": name, "versions": [ready.model_version], "platform": ready.platform, **ready.tensors}


def most_bytes(model: ModelWorkers) -> int:
    """Return the bytes that a request may have."""
    return most_request_bytes(model.ready.max_bytes if model.ready else MOST_IMAGE_BYTES)


def most_request_bytes(max_bytes: int) -> int:
    """Return the bytes that a request may have whose image may have `max_bytes`."""
    return max_bytes * 4 // 3 + _BYTES_BESIDE_IMAGE
