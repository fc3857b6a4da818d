"""Weights from elsewhere: one module per source, each returns `ImportedWeights`."""
