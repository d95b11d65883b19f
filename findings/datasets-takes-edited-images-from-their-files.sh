#!/bin/sh
# datasets 5.2.0: an image that was opened from a file and then edited in place goes into a data
# set as it lies in the file. A map() that draws a black box over a burnt-in name changes nothing:
# the name is still in the data set, and in what save_to_disk writes. Pages of a TIFF, taken one by
# one, all become the first page. There is no error and no warning.
#
# Pillow keeps the name of the file that an image was opened from. Where there is one, the data set
# takes down this name, and reads the file again later. With image.copy() the edit is kept. So it is
# with the same map() where the data set holds the bytes of the files instead of their names.
#
# Output seen on 2026-11-30 (Pillow 13.0.0; the name is 255, the box is 0):
#   the name after drawing, saved by Pillow: 0
#   folder of files, map(): 255
#   folder of files, map(), save_to_disk(): 255
#   bytes of the files, map(): 0
#   images, opened and edited: 255
#   images, opened, copied and edited: 0
#   pages 10, 20 and 30 of a TIFF: 10 10 10
#   pages 10, 20 and 30 of a TIFF, copied: 10 20 30
# Exits with 1 when this changes. Needs python3 (3.11 or newer) and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
export HF_HOME="$folder/cache" HF_HUB_OFFLINE=1
cat > edit.py <<'PYTHON'
import os
import shutil
import sys
import warnings

import datasets
import numpy as np
from datasets import Dataset, load_dataset, load_from_disk
from PIL import Image, ImageDraw, ImageSequence

NAME = (0, 0, 15, 7)  # where the name of the patient stands in the scan
seen = []


def show(text, *values):
    print(text + ":", *values)
    seen.append([int(value) for value in values])


def brightest(image):
    """The highest value where the name was."""
    return np.asarray(image)[:8, :16].max()


def hide_name(row):
    ImageDraw.Draw(row["image"]).rectangle(NAME, fill=0)
    return row


def opened(path, copied=False):
    image = Image.open(path)
    return image.copy() if copied else image


def pages(copied):
    for page in ImageSequence.Iterator(Image.open("stack.tif")):
        yield {"image": page.copy() if copied else page}


scan = np.full((32, 32), 100, np.uint8)
scan[:8, :16] = 255
os.mkdir("scans")
Image.fromarray(scan).save("scans/a.png")
stack = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 20, 30)]
stack[0].save("stack.tif", save_all=True, append_images=stack[1:])

datasets.disable_progress_bars()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    row = hide_name({"image": opened("scans/a.png")})
    row["image"].save("edited.png")
    show("the name after drawing, saved by Pillow", brightest(Image.open("edited.png")))

    files = load_dataset("imagefolder", data_dir="scans", split="train")
    edited = files.map(hide_name)
    show("folder of files, map()", brightest(edited[0]["image"]))
    edited.save_to_disk("saved")
    shutil.move("scans", "elsewhere")
    saved = load_from_disk("saved")
    show("folder of files, map(), save_to_disk()", brightest(saved[0]["image"]))
    with open("elsewhere/a.png", "rb") as file:
        data = Dataset.from_list([{"image": {"bytes": file.read(), "path": None}}])
    data = data.cast_column("image", datasets.Image())
    show("bytes of the files, map()", brightest(data.map(hide_name)[0]["image"]))

    for copied, text in ((False, ""), (True, ", copied")):
        row = hide_name({"image": opened("elsewhere/a.png", copied)})
        text = "images, opened" + text + " and edited"
        show(text, brightest(Dataset.from_list([row])[0]["image"]))
    for copied, text in ((False, ""), (True, ", copied")):
        data = Dataset.from_generator(pages, gen_kwargs={"copied": copied})
        text = "pages 10, 20 and 30 of a TIFF" + text
        show(text, *(np.asarray(row["image"]).max() for row in data))
for warning in caught:
    print("warning:", warning.message)
wanted = [[0], [255], [255], [0], [255], [0], [10, 10, 10], [10, 20, 30]]
sys.exit(0 if seen == wanted and not caught else 1)
PYTHON
env/bin/python edit.py
