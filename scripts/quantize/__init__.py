"""Quantize networks to 8-bit integers, and measure the loss."""
