"""This project's own server: `python -m handler.servers.asgi --model NAME=FILE`, or `python FILE.mar`.

One front process (Starlette on uvicorn) holds the connections, the queue and the deadlines; it imports neither torch nor numpy.
Worker processes hold one model each and run their archive's code: a crash in native code costs one worker, never the server.

```
client → connections.py → routes.py → body.py → request_queue.py → workers.py ═ frames ═ worker.py → http_calls.py → Application
```
"""
