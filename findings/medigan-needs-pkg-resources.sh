#!/bin/sh
# medigan 1.0.0 (the newest on PyPI) cannot be imported after `pip install medigan` on Python 3.11: it imports
# pkg_resources without declaring setuptools, and the setuptools that torch brings along (84.2.1) no longer has that module.
# With setuptools 80.9.0 the same installation gets past that import.
#
# Seen on 2026-11-28:
#   setuptools 84.2.1: ModuleNotFoundError: No module named 'pkg_resources'
#   setuptools 80.9.0: imported
#
# Exits with 1 if that changes. Needs python3.11, a package index and about 6 GB (a full torch 2.14.1) for a while.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/env"
python="$folder/env/bin/python"
"$python" -m pip install -q "medigan==1.0.0" "torch==2.14.1" "numpy==2.4.6" "setuptools==84.2.1"
cd "$folder"
seen() {
    "$python" -W ignore -c "import medigan; print('imported')" 2>&1 | tail -n 1
}
new=$(seen)
"$python" -m pip install -q "setuptools==80.9.0"
old=$(seen)
echo "setuptools 84.2.1: $new"
echo "setuptools 80.9.0: $old"
test "$new" = "ModuleNotFoundError: No module named 'pkg_resources'"
test "$old" = imported
