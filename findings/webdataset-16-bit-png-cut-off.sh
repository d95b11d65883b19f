#!/usr/bin/env bash
# webdataset 1.0.2 (Pillow 12.3.0, numpy 2.3.5): `decode("pil")`, `"torchrgb"`, `"l8"` and the like turn a grey PNG of 16 bits into one
# of 8 bits by cutting every value off at 255, without a warning. Of a CT or MR slice of 12 bits nearly all is white.
# `handle_extension("png", ...)` with one's own reader keeps the values.
# Output seen:
#   stored       [0, 255, 256, 4000]
#   pil          RGB [0, 255, 255, 255]
#   l8           [0, 255, 255, 255]
#   own reader   [0, 255, 256, 4000]
set -euo pipefail
box=$(mktemp -d); trap 'rm -rf "$box"' EXIT; cd "$box"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check webdataset==1.0.2 Pillow==12.3.0 numpy==2.3.5
env/bin/python -W ignore - <<'PY'
import io, sys, tarfile

import numpy as np
import webdataset as wds
from PIL import Image

values = [0, 255, 256, 4000]
png = io.BytesIO()
Image.fromarray(np.array([values], np.uint16)).save(png, "PNG")
with tarfile.open("one.tar", "w") as tar:
    member = tarfile.TarInfo("000.png")
    member.size = len(png.getvalue())
    tar.addfile(member, io.BytesIO(png.getvalue()))


def read(handler):
    (sample,) = wds.WebDataset("one.tar", shardshuffle=False, empty_check=False).decode(handler)
    return sample["png"]


picture = read("pil")
pil = np.array(picture)[0].reshape(4, -1)[:, 0].tolist()
l8 = np.asarray(read("l8"))[0].tolist()
own = read(wds.handle_extension("png", lambda data: np.array(Image.open(io.BytesIO(data)))))[0].tolist()
print("stored      ", values)
print("pil         ", picture.mode, pil)
print("l8          ", l8)
print("own reader  ", own)
cut = [0, 255, 255, 255]
sys.exit(0 if (picture.mode, pil, l8, own) == ("RGB", cut, cut, values) else 1)
PY
