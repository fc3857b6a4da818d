"""A training run's log, curves and sample sheets."""
