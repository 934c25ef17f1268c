"""Writes resample.bin: what Pillow's Image.resize makes of small pictures that both sides compute from a formula.

Run with numpy and Pillow 13 installed:  python make_resample.py

Each record is 6 little-endian uint32 (channels: 3, 1 or 0 for float32; filter: 0 Lanczos, 1 bilinear; source width and
height; result width and height) and the result's samples, rows of pixels, channels side by side. The file is deflated.
"""
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

SIZES = [  # source and result; both orders of the passes, both directions, sides that stay, single rows and columns
    (64, 48, 20, 15), (20, 15, 64, 48), (31, 90, 30, 17), (90, 31, 17, 30), (17, 90, 40, 9), (1, 1, 7, 5),
    (7, 5, 1, 1), (33, 47, 33, 20), (33, 47, 20, 47), (5, 60, 5, 61), (128, 3, 9, 3), (3, 128, 3, 9), (40, 40, 40, 40),
    (23, 29, 32, 32), (138, 138, 32, 32), (50, 120, 32, 32), (32, 32, 71, 53),
]


def source(w, h, channels):
    """Pseudo-random bytes (a 32-bit linear congruential generator), every third pixel pushed to black or white."""
    n, state, out = w * h * channels, 12345 + w * 1000 + h, []
    for i in range(n):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        v = state >> 24
        if i // channels % 3 == 0:
            v = 255 if v > 127 else 0
        out.append(v)
    a = np.array(out, np.uint8)
    return a.reshape(h, w, channels) if channels > 1 else a.reshape(h, w)


def main():
    records = []
    for filter_id, resampling in enumerate((Image.Resampling.LANCZOS, Image.Resampling.BILINEAR)):
        for sw, sh, w, h in SIZES:
            for channels in (3, 1, 0):
                a = source(sw, sh, channels or 1)
                if channels == 0:
                    a = a.astype(np.float32) / np.float32(64) - np.float32(1)
                result = np.asarray(Image.fromarray(a).resize((w, h), resampling))
                records.append(struct.pack("<6I", channels, filter_id, sw, sh, w, h) + result.tobytes())
    data = zlib.compress(b"".join(records), 9)
    pathlib.Path(__file__).with_name("resample.bin").write_bytes(data)


if __name__ == "__main__":
    main()
