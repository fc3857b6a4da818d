"""`/openapi.json`: an OpenAPI 3.1 document of this server's API, for the models that it serves.

Each model has its own paths, because options differ: classes, defaults, limits. A model's options come from its worker
(`Ready.interface`), where they are declared once; the front process does not import them.

```
served.py ← document.py ← operations.py (each path) ← bodies.py (requests), answers.py, refusals.py (errors by status)
```
"""

from handler.servers.asgi.openapi.served import ServedDocument

__all__ = ["ServedDocument"]
