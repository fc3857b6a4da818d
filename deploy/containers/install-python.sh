#!/bin/sh
# Install a server's requirements into /opt/deeplab, with the hash of every file checked: install-python.sh SERVER cpu|cuda
# SERVER.txt and the other locks are next to this script. pip and uv take indexes from their own configuration.
set -eu
server=$1 torch=$2
locks=$(dirname "$0")
python3 -m venv /opt/deeplab
pip="/opt/deeplab/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes"
if [ "$torch" = cpu ]; then
    # PyTorch's CPU build is on a separate index, which uv knows; if that is unreachable, pip may be configured with another.
    $pip -r "$locks/install.txt"
    UV_HTTP_RETRIES=1 /opt/deeplab/bin/uv pip install --quiet --no-cache --python /opt/deeplab --torch-backend cpu --no-deps \
        --require-hashes -r "$locks/torch-cpu.txt" 2>/dev/null || $pip -r "$locks/torch-cpu.txt"
    /opt/deeplab/bin/python -m pip uninstall --quiet -y uv
else
    $pip -r "$locks/torch-$torch.txt"
fi
$pip -r "$locks/$server.txt"
# Without pip nothing can be installed in the image later. PyTorch's headers are only for building.
/opt/deeplab/bin/python -m pip uninstall --quiet -y pip
rm -rf /opt/deeplab/lib/python3*/site-packages/torch/include
