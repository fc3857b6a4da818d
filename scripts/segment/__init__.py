"""Segment folders of photographs with a running server: what is sent, what is kept, and what is reported."""
