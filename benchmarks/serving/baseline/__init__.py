"""TorchServe's own segmentation handler, packaged so that it can be compared with this bundle."""
