#!/bin/sh
# Install what a server needs into /opt/deeplab, every file checked by its hash: install-python.sh SERVER cpu|cuda
# SERVER.txt and the other locks lie beside this script. pip and uv take indexes from their own configuration.
set -eu
server=$1 torch=$2
locks=$(dirname "$0")
python3 -m venv /opt/deeplab
pip="/opt/deeplab/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes"
if [ "$torch" = cpu ]; then
    # PyTorch's CPU build is on an index of its own, which uv knows; where that cannot be reached, pip may know another place.
    $pip -r "$locks/install.txt"
    UV_HTTP_RETRIES=1 /opt/deeplab/bin/uv pip install --quiet --no-cache --python /opt/deeplab --torch-backend cpu --no-deps \
        --require-hashes -r "$locks/torch-cpu.txt" 2>/dev/null || $pip -r "$locks/torch-cpu.txt"
    /opt/deeplab/bin/python -m pip uninstall --quiet -y uv
else
    $pip -r "$locks/torch-$torch.txt"
fi
$pip -r "$locks/$server.txt"
# Nothing can be installed in the image any more. PyTorch's headers and the packages' tests are for building and testing.
/opt/deeplab/bin/python -m pip uninstall --quiet -y pip
rm -rf /opt/deeplab/lib/python3*/site-packages/torch/include
