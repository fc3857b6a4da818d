"""Weights from elsewhere: one module per source, each giving a `foreign.Foreign`."""
