#!/bin/sh
# Install Debian packages in an image, and leave nothing of apt's behind: install-debian.sh PACKAGE...
# BASE_IMAGE is what the image is built from: a tag alone may name something else tomorrow. tools.image_root has a folder there.
set -eu
case "${BASE_IMAGE-}" in
*@sha256:????????????????????????????????????????????????????????????????) ;;
/*) ;;
*)
    echo "BASE_IMAGE is '${BASE_IMAGE-}'; name it with a digest, as debian:bookworm-slim@sha256:..." >&2
    exit 1
    ;;
esac
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log
