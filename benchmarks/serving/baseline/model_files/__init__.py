"""Model files, one for each network that TorchServe's own handler is compared with."""
