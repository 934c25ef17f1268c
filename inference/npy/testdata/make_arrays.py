#!/usr/bin/env python3
"""Writes the .npy files that the tests read, beside itself.

Needs numpy:  python3 make_arrays.py
An array of shape s holds 0, 1, 2 ... in row-major order, modulo 2 for booleans; half.npy holds 0, 0.5, 1 ...
"""

import pathlib

import numpy as np
from numpy.lib import format as fmt

HERE = pathlib.Path(__file__).parent


def write(name, array, version=(1, 0)):
    with open(HERE / f"{name}.npy", "wb") as f:
        fmt.write_array(f, array, version=version)


for t in ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"]:
    write(f"{t}", np.arange(6, dtype="<" + t).reshape(2, 3))
    write(f"{t}_big", np.arange(6, dtype=">" + t).reshape(2, 3))
write("b1", (np.arange(6) % 2 == 1).reshape(2, 3))
write("half", (np.arange(6) / 2).astype("<f2").reshape(2, 3))
write("fortran", np.asfortranarray(np.arange(24, dtype="<f4").reshape(2, 3, 4)))
write("scalar", np.float32(0))
write("vector", np.arange(3, dtype="<f4"))
write("empty", np.zeros((0, 3), "<f4"))
write("v2", np.arange(6, dtype="<f4").reshape(2, 3), (2, 0))
write("v3", np.arange(6, dtype="<f4").reshape(2, 3), (3, 0))
write("complex", np.zeros(2, "<c8"))
write("text", np.array(["a", "b"]))
write("records", np.zeros(2, [("a", "<f4"), ("b", "<i4")]))
