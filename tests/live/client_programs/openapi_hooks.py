"""Bodies that schemathesis sends where files are expected: an image, parts of one, other bytes."""

import base64

import schemathesis.openapi
from hypothesis import strategies as st

#: A PNG of 16 × 16 pixels.
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAHElEQVR42mNkwAFOVGhgFWdiIBGMahjVMHQ0AABe3AGIO0lhtgAAAABJRU5ErkJggg=="
)
FILES = st.one_of(st.just(IMAGE), st.integers(1, len(IMAGE) - 1).map(lambda end: IMAGE[:end]), st.binary(max_size=200))

for media_type in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, FILES)
