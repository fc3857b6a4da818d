"""Run a local TorchServe or this project's own server: its ports, its start, and the running server.

>>> with serving(Path("build/model-store/deeplabv3.mar"), Ports.free(), run_directory) as server:
...     requests.post(server.url, data=photo)
"""

from scripts.server.launch import CONFIG, DEFAULT_RUN_DIRECTORY, LOGGING, serving, start
from scripts.server.ports import DEFAULT_PORT, LAST_BASE_PORT, Ports, ServerError
from scripts.server.running import READY_TIMEOUT_S, Server, Software

__all__ = [
    "CONFIG",
    "DEFAULT_PORT",
    "DEFAULT_RUN_DIRECTORY",
    "LAST_BASE_PORT",
    "LOGGING",
    "READY_TIMEOUT_S",
    "Ports",
    "Server",
    "ServerError",
    "Software",
    "serving",
    "start",
]
