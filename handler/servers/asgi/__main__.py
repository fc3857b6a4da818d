"""Serve models: `python -m handler.servers.asgi --model NAME=FILE`."""

import sys

from handler.servers.asgi.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
