"""Training networks: `python -m scripts.train`."""
