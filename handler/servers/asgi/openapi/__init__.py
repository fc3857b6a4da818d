"""`/openapi.json`: an OpenAPI 3.1 document of what this server answers, for the models that it serves.

Paths name each model, because options differ: classes, defaults, limits. What a model's requests may say comes from its worker
(`Ready.interface`), whose options are declared once; the front process imports none of that.

```
served.py ← document.py ← operations.py (each path) ← bodies.py (requests), answers.py, refusals.py (errors by status)
```
"""

from handler.servers.asgi.openapi.served import ServedDocument

__all__ = ["ServedDocument"]
