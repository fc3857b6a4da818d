"""Measure label maps against ground truth: predictions, scores and reports."""
