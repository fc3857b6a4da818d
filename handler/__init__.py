"""The code that runs inside the model archive, from HTTP request to mask."""
