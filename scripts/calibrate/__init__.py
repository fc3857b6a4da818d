"""Calibrate probabilities: a class predicted with 80 % should be the true one for 80 of 100 pixels."""
