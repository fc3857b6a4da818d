"""Exit with 0 if the server in this container would answer requests: the check of engines that have no probes of their own."""

import json
import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:  # noqa: S310 (the image names it)
    body = answer.read()
# TorchServe's probe is green before its models are; the list of a model's workers is not.
workers = json.loads(body)[0]["workers"] if len(sys.argv) > 2 else []
sys.exit(any(worker["status"] != "READY" for worker in workers))
