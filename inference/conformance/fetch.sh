#!/bin/sh
# Downloads the ONNX project's node tests into .tools/onnx-1.17.0/node. They lie in the wheel of the Python package
# onnx; later wheels carry none. One wheel is named, whatever machine this runs on, because only its data is read.
set -eu
cd "$(dirname "$0")/../.."
version=1.17.0
wheel=onnx-$version-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
sum=4a183c6178be001bf398260e5ac2c927dc43e7746e8638d6c05c20e321f8c949
dir=.tools/onnx-$version
[ -d "$dir/node" ] && exit 0
python=$(command -v python3 || command -v python) || { echo "fetch.sh: python is needed to download the ONNX node tests" >&2; exit 1; }
mkdir -p "$dir"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
	--implementation cp --python-version 3.11 --abi cp311 --platform manylinux2014_x86_64 \
	--dest "$dir" "onnx==$version"
"$python" - "$dir" "$wheel" "$sum" <<'PY'
import hashlib, os, sys, zipfile

dir, wheel, want = sys.argv[1:]
path = os.path.join(dir, wheel)
with open(path, "rb") as f:
    got = hashlib.sha256(f.read()).hexdigest()
if got != want:
    sys.exit(f"fetch.sh: {wheel} has SHA-256 {got}, want {want}")
prefix = "onnx/backend/test/data/node/"
part = os.path.join(dir, "node.part")
with zipfile.ZipFile(path) as z:
    for name in z.namelist():
        if name.startswith(prefix) and not name.endswith("/"):
            to = os.path.join(part, *name[len(prefix):].split("/"))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            with open(to, "wb") as f:
                f.write(z.read(name))
os.rename(part, os.path.join(dir, "node"))
os.remove(path)
PY
