"""Segment many images, or one too large for memory, with a model archive."""
