"""Log, curves and sample sheets of a training run."""
