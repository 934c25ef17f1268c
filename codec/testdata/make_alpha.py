"""Makes alpha.png and what Pillow makes of it at other sizes: alpha.WxH.png. Needs Pillow and NumPy."""

import pathlib

import numpy as np
from PIL import Image

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)
y, x = np.mgrid[0:37, 0:53]
pixels = np.empty((37, 53, 4), np.uint8)
pixels[..., 0] = 4 * x
pixels[..., 1] = 6 * y
pixels[..., 2] = rng.integers(0, 256, (37, 53))
pixels[..., 3] = np.clip(9 * (18 - np.hypot(x - 26, y - 18)) + 60, 0, 255)
source = Image.fromarray(pixels, "RGBA")
source.save(here / "alpha.png")
for size in [(20, 14), (53, 10), (11, 37), (80, 60), (1, 1)]:
    # Pillow multiplies by alpha and divides again on its own for this mode.
    source.resize(size, Image.Resampling.LANCZOS).save(here / f"alpha.{size[0]}x{size[1]}.png")
