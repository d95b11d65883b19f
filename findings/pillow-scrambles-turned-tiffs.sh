#!/bin/sh
# Pillow 13.0.0: an uncompressed TIFF whose Orientation tag is 5 to 8 (rows stored as columns) is
# scrambled when it is opened by its path, and right when it is opened as a file object.
#
# Image.open(path) maps the file into memory with the width and height of the turned picture, so
# that rows of 6 pixels are taken for rows of 4. No warning. LZW files, and `with open(path, "rb")`,
# come out right. Found with a scan saved by tifffile as
# `imwrite("a.tif", picture, extratags=[(274, "H", 1, 6, True)])`.
#
# Seen: by path (4, 6) equal to the right picture: False; by file object (6, 4): True
# medzoo opens files as objects (medzoo/readers.py). Exits 1 once Pillow does otherwise.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet pillow==13.0.0 numpy tifffile==2026.3.3
env/bin/python - <<'PYTHON'
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

stored = np.arange(24, dtype=np.uint8).reshape(4, 6)
tifffile.imwrite("a.tif", stored, photometric="minisblack", extratags=[(274, "H", 1, 6, True)])
right = np.rot90(stored, -1)  # orientation 6: turn clockwise to see it upright; (6, 4)

with Image.open("a.tif") as image:
    by_path = np.asarray(image)
with open("a.tif", "rb") as file, Image.open(file) as image:
    by_object = np.asarray(image)

print("Pillow", PIL.__version__)
for name, picture in (("path", by_path), ("file object", by_object)):
    print(f"by {name}: {picture.shape}, right: {np.array_equal(picture, right)}")
sys.exit(np.array_equal(by_path, right) or not np.array_equal(by_object, right))
PYTHON
