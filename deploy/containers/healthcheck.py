"""Exit with 0 if the server in this container is ready: the health check for container engines without HTTP probes."""

import json
import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:  # noqa: S310 (the image names it)
    body = answer.read()
# TorchServe's probe succeeds before its models are ready, so check the list of a model's workers.
workers = json.loads(body)[0]["workers"] if len(sys.argv) > 2 else []
sys.exit(any(worker["status"] != "READY" for worker in workers))
