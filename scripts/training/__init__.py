"""Training of networks: `python -m scripts.train`."""
