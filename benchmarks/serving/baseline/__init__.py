"""TorchServe's own segmentation handler, packaged for comparison with this bundle."""
