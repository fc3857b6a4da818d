"""Sending folders of photographs to a running server: what is sent, what is kept, and what is told about it."""
