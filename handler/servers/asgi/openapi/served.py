"""The OpenAPI document of the models currently served, as bytes."""

import json
from collections.abc import Mapping

from handler.servers.asgi.errors import ModelNotReady
from handler.servers.asgi.messages import Ready
from handler.servers.asgi.openapi.document import openapi_document
from handler.servers.asgi.openapi.operations import DescribedModel
from handler.servers.asgi.page import page_paths
from handler.servers.asgi.workers import ModelWorkers


class ServedDocument:
    """Caches the document, which takes 50 ms to write, until a worker reports something new."""

    def __init__(self, models: Mapping[str, ModelWorkers], *, needs_tokens: bool) -> None:
        self._models = models
        self._needs_tokens = needs_tokens
        self._reports: Mapping[str, Ready] = {}
        self._content = b""

    def content(self) -> bytes:
        """Return the document. A model that cannot be loaded is left out, since it only answers 503.

        Raises:
            ModelNotReady: a model is being loaded for the first time, or no model can be loaded.
        """
        ready = {name: model.ready for name, model in self._models.items() if model.ready is not None}
        is_loading = any(model.ready is None and model.queue.closed is None for model in self._models.values())
        if is_loading or not ready:
            raise ModelNotReady("the models are not loaded yet, so their options are unknown; try again in 1 s")
        if ready != self._reports:
            models = [DescribedModel(name, report.model_version, report.interface) for name, report in ready.items()]
            document = openapi_document(models, page_paths(), needs_tokens=self._needs_tokens)
            self._reports, self._content = ready, json.dumps(document, indent=1, ensure_ascii=False).encode()
        return self._content
