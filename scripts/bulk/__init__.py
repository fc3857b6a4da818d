"""Segment many images, or one that fits no memory, with a model archive."""
