"""Segment folders of photographs by a running server: what is sent, what is kept, and what is reported."""
