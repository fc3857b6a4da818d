"""Measurements of this bundle; they are never shipped with it."""
