"""What one can see of a training run: its log, its curves and its pictures."""
