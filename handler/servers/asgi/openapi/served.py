"""The document of the models that are served now, as bytes."""

import json
from collections.abc import Mapping

from handler.servers.asgi.errors import ModelNotReady
from handler.servers.asgi.messages import Ready
from handler.servers.asgi.openapi.document import openapi_document
from handler.servers.asgi.openapi.operations import DescribedModel
from handler.servers.asgi.page import page_paths
from handler.servers.asgi.workers import ModelWorkers


class ServedDocument:
    """Writes the document anew only when a worker has said something else: it takes 50 ms."""

    def __init__(self, models: Mapping[str, ModelWorkers], *, needs_tokens: bool) -> None:
        self._models = models
        self._needs_tokens = needs_tokens
        self._described: Mapping[str, Ready] = {}
        self._content = b""

    def content(self) -> bytes:
        """Return the document. A model that cannot be loaded is left out; it answers nothing but 503.

        Raises:
            ModelNotReady: a model is being loaded for the first time, or none can be.
        """
        ready = {name: model.ready for name, model in self._models.items() if model.ready is not None}
        is_loading = any(model.ready is None and model.queue.closed is None for model in self._models.values())
        if is_loading or not ready:
            raise ModelNotReady("the models are not loaded yet, and what they take is not known before; try again in 1 s")
        if ready != self._described:
            models = [DescribedModel(name, said.model_version, said.interface) for name, said in ready.items()]
            document = openapi_document(models, page_paths(), needs_tokens=self._needs_tokens)
            self._described, self._content = ready, json.dumps(document, indent=1, ensure_ascii=False).encode()
        return self._content
