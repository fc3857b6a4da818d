"""Pre-annotate Label Studio's tasks: a machine learning backend that asks a running server."""
