"""Model files for TorchServe's own handler, one per measured network."""
