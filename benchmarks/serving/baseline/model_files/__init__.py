"""One model file per network that TorchServe's own handler is measured with."""
