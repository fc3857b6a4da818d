"""What hours of mixed requests do to both servers: memory, descriptors and latency over time."""
