"""Find served models and describe them for KServe v2; shared by HTTP and gRPC."""

from collections.abc import Mapping
from typing import Any

from handler.servers.asgi.errors import ModelNotFound, ModelNotReady
from handler.servers.asgi.workers import ModelWorkers
from handler.version import VERSION

#: The server's metadata.
SERVER = {"name": "deeplab-serve", "version": VERSION, "extensions": ["binary_tensor_data"]}
#: Allowance for the rest of the JSON or form; base64 itself takes a third more than the image.
_OVERHEAD_BYTES = 1 << 20
#: The largest image in bytes, until a worker has reported its model's own limit.
MAX_IMAGE_BYTES = 32_000_000


def find_model(models: Mapping[str, ModelWorkers], name: str, version: str | None = None) -> ModelWorkers:
    """Return the model called `name`, in any version if `version` is None.

    Raises:
        ModelNotFound: the model is not served, or not in this version.
    """
    model = models.get(name)
    if model is None:
        raise ModelNotFound(f"there is no model {name[:80]!r} here; the served models are {', '.join(models)}")
    served_version = model.ready.model_version if model.ready else None
    if version is not None and served_version is not None and version != served_version:
        raise ModelNotFound(f"model {name!r} is not served in version {version[:80]!r}, but in {served_version!r}")
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


def max_request_bytes(model: ModelWorkers) -> int:
    """Return the largest request to `model`, in bytes."""
    return request_bytes_for(model.ready.max_bytes if model.ready else MAX_IMAGE_BYTES)


def request_bytes_for(max_bytes: int) -> int:
    """Return the largest request, in bytes, for images of at most `max_bytes`."""
    return max_bytes * 4 // 3 + _OVERHEAD_BYTES
