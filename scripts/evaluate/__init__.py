"""Measuring label maps against ground truth: figures, where predictions come from, and reports."""
