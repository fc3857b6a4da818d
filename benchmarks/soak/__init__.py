"""Soak test of both servers: memory, descriptors and latency over hours of mixed requests."""
