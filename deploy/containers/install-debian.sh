#!/bin/sh
# Install Debian packages in an image, and remove apt's caches: install-debian.sh PACKAGE...
# BASE_IMAGE is the image's base, with a digest, since a tag may name something else tomorrow. For tools.image_root it is a folder.
set -eu
case "${BASE_IMAGE-}" in
*@sha256:????????????????????????????????????????????????????????????????) ;;
/*) ;;
*)
    echo "BASE_IMAGE is '${BASE_IMAGE-}'; name it with a digest, such as debian:bookworm-slim@sha256:..." >&2
    exit 1
    ;;
esac
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log
