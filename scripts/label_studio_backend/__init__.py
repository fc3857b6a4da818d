"""Pre-annotate Label Studio's tasks: a machine learning backend that uses a running server."""
