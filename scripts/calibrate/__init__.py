"""Calibrate probabilities: make a class that is given 80 % the true one in 80 of 100 pixels."""
