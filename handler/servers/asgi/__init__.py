"""A server of this project's own: `python -m handler.servers.asgi --model NAME=FILE`, or `python FILE.mar`.

One front process (Starlette on uvicorn) holds the connections, the queue and the deadlines; it imports neither torch nor numpy.
Worker processes hold one model each and run their archive's code: a crash of native code costs one of them, never the server.

```
client → connections.py → routes.py → body.py → request_queue.py → workers.py ═ frames ═ worker.py → http_calls.py → Application
```
"""
