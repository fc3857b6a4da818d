"""Making of a network a graph in 8-bit integers, and finding out what that costs."""
