"""What people would write or pick instead of this bundle, each around the same network, as its tutorials have it.

Every file is a program, `python -m benchmarks.serving.peers.NAME --checkpoint FILE --size HEIGHT WIDTH --port N`, in an
environment of its own with what `requirements.txt` lists; `make bench` makes it.
"""
