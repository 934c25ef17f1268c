"""Makes clean_in.png, a mask with specks, hairs and soft edges, and clean_out.png, what rembg's post-processing makes of
it, by way of SciPy: opening with a cross, a 5x5 Gaussian of deviation 2, a cut at 127. Needs NumPy, Pillow, SciPy."""

import pathlib

import numpy as np
from PIL import Image
from scipy import ndimage

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(3)
y, x = np.mgrid[0:64, 0:90]
mask = np.clip(20 * (22 - np.hypot(x - 40, y - 30)) + 128, 0, 255)
mask[:, 70] = 255  # a hair
mask[50:, 60:] = np.maximum(mask[50:, 60:], 180)  # soft, at the border
mask[rng.random(mask.shape) < 0.02] = 255  # specks
mask[rng.random(mask.shape) < 0.02] = 0  # and holes
mask = mask.astype(np.uint8)
Image.fromarray(mask).save(here / "clean_in.png")

cross = ndimage.generate_binary_structure(2, 1)
eroded = ndimage.grey_erosion(mask, footprint=cross, mode="constant", cval=255)
opened = ndimage.grey_dilation(eroded, footprint=cross, mode="constant", cval=0)
kernel = np.exp(-(np.arange(-2, 3) ** 2) / 8)
kernel /= kernel.sum()
blurred = ndimage.correlate1d(opened.astype(float), kernel, axis=1, mode="mirror")
blurred = np.rint(ndimage.correlate1d(blurred, kernel, axis=0, mode="mirror"))
Image.fromarray(np.where(blurred < 127, 0, 255).astype(np.uint8)).save(here / "clean_out.png")
