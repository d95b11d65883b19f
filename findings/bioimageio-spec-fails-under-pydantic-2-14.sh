#!/bin/sh
# bioimageio.spec 0.5.12.0 takes any pydantic 2 (its metadata says pydantic<3,>=2.10.3), but
# under pydantic 2.14.4 every model description is invalid; under 2.13.5 the same one is valid.
#
# Its serializer of files hands pydantic's `info` on in the place of an index:
# "'index_key' is expected to be an integer or a string, got 'SerializationInfo(...". The error
# stands in the validation summary, without a location, so it reads as a fault of the description.
#
# Seen: pydantic 2.14.4: InvalidDescr, names index_key; pydantic 2.13.5: ModelDescr
# medzoo's extra `export` asks for pydantic<2.14. Exits 1 once either does otherwise.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > describe.py <<'PYTHON'
import sys

import numpy as np
import pydantic
from bioimageio.spec import ValidationContext, build_description

np.save("values.npy", np.zeros((1, 2), np.float32))


def tensor(name):
    axes = [{"type": "batch"}, {"type": "channel", "channel_names": ["a", "b"]}]
    return {"id": name, "axes": axes, "test_tensor": {"source": "values.npy"}}


description = {
    "format_version": "0.5.4",
    "type": "model",
    "name": "a small model",
    "description": "two numbers in, two numbers out",
    "authors": [{"name": "A. Author"}],
    "license": "MIT",
    "documentation": "https://example.com/README.md",
    "cite": [{"text": "A. Author", "doi": "10.1234/abc"}],
    "inputs": [tensor("x")],
    "outputs": [tensor("y")],
    "weights": {"onnx": {"source": "values.npy", "opset_version": 17}},
}
with ValidationContext(root=".", perform_io_checks=False):
    built = build_description(description)
names_index = "index_key" in built.validation_summary.format()
print(f"pydantic {pydantic.VERSION}: {type(built).__name__}, names index_key: {names_index}")
sys.exit([type(built).__name__, str(names_index)] != sys.argv[1:])
PYTHON
python3 -m venv env
env/bin/pip install --quiet bioimageio.spec==0.5.12.0 pydantic==2.14.4 numpy
env/bin/python describe.py InvalidDescr True 2> errors
env/bin/pip install --quiet pydantic==2.13.5
env/bin/python describe.py ModelDescr False 2> errors
