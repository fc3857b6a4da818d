"""Servers that people might write or choose instead of this bundle, each around the same network, as in its tutorials.

Every file is a program, `python -m benchmarks.serving.peers.NAME --checkpoint FILE --size HEIGHT WIDTH --port N`, in a separate
environment with the packages of `requirements.txt`, which `make bench` creates.
"""
