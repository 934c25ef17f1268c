"""Writes hostile.bin: what Pillow makes of the hostile files of the shared data, at a grid of points.

usage: make_hostile.py FOLDER

A record is: length of the name (16 bits), name, width and height of the upright picture (32 bits each), then four bytes of
straight RGBA for each point of a grid of at most 24 x 24. Numbers are little-endian. The whole is compressed with zlib.
Files that Pillow refuses have no record. Written with Pillow 13.0.
"""

import os
import struct
import sys
import warnings
import zlib

import numpy
from PIL import Image, ImageOps

GRID = 24


def samples(path):
    with Image.open(path) as m:
        m.load()
        m = ImageOps.exif_transpose(m)
        if m.mode.startswith("I;16") or m.mode == "I":  # convert would clip instead of taking the upper byte
            grey = (numpy.asarray(m).astype(numpy.int64) >> 8).clip(0, 255).astype(numpy.uint8)
            rgba = Image.fromarray(grey).convert("RGBA")
        else:
            rgba = m.convert("RGBA")
    w, h = rgba.size
    nx, ny = min(w, GRID), min(h, GRID)
    pix = numpy.asarray(rgba)
    return w, h, pix[numpy.arange(ny) * h // ny][:, numpy.arange(nx) * w // nx].tobytes()


def main():
    warnings.simplefilter("ignore")
    root = sys.argv[1]
    out = bytearray()
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.basename(path).startswith("bomb_12000x8000"):
                continue  # nobody decodes that in a unit test
            try:
                w, h, data = samples(path)
            except Exception:  # whatever Pillow raises, it refuses the file
                continue
            rel = os.path.relpath(path, root).replace(os.sep, "/").encode()
            out += struct.pack("<H", len(rel)) + rel + struct.pack("<II", w, h) + data
    target = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile.bin")
    with open(target, "wb") as f:
        f.write(zlib.compress(bytes(out), 9))


main()
