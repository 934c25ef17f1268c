"""Makes the reference pictures of the matting tests in matting/testdata.

Photos are crops of the CC0 pictures that come with scikit-image (astronaut, chelsea, coffee, rocket); mattes and
foregrounds are pymatting's, trimaps are made with scipy the way the tools do whose alpha matting knobs we keep.

Needs: numpy, pillow, scipy, scikit-image, pymatting. Run from the repository's root: python testdata/make_matting.py
"""

import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pymatting import estimate_alpha_cf, estimate_foreground_ml
from scipy.ndimage import binary_erosion
from skimage import data

OUT = pathlib.Path(__file__).resolve().parent.parent / "matting" / "testdata"

# name: (photo, crop box, ellipses of the subject in the crop, blur of the mask)
CASES = {
    "astronaut": (data.astronaut, (120, 0, 328, 200), [(48, 10, 158, 150), (10, 130, 207, 300)], 7),
    "chelsea": (data.chelsea, (60, 0, 268, 200), [(10, 30, 200, 320)], 9),
    "coffee": (data.coffee, (120, 60, 328, 260), [(40, 10, 260, 300)], 6),
    "rocket": (data.rocket, (250, 30, 390, 230), [(44, 30, 100, 300)], 5),
}


def trimap(mask, fg, bg, size):
    structure = np.ones((size, size)) if size > 0 else None
    is_fg = binary_erosion(mask > fg, structure=structure)
    is_bg = binary_erosion(mask < bg, structure=structure, border_value=1)
    t = np.full(mask.shape, 128, np.uint8)
    t[is_fg] = 255
    t[is_bg] = 0
    return t


def save(name, array):
    Image.fromarray(np.ascontiguousarray(array)).save(OUT / name, optimize=True)


def main():
    OUT.mkdir(exist_ok=True)
    for name, (photo, box, ellipses, blur) in CASES.items():
        rgb = Image.fromarray(photo()).convert("RGB").crop(box)
        mask = Image.new("L", rgb.size)
        for e in ellipses:
            ImageDraw.Draw(mask).ellipse(e, fill=255)
        mask = np.asarray(mask.filter(ImageFilter.GaussianBlur(blur)))
        rgb = np.asarray(rgb)
        t = trimap(mask, 240, 10, 10)
        alpha = estimate_alpha_cf(rgb / 255, t / 255)
        alpha8 = np.round(alpha * 255).astype(np.uint8)
        # The foreground is estimated from the matte as stored, so that both sides start from the same numbers.
        foreground = estimate_foreground_ml(rgb / 255, alpha8 / 255)
        save(f"{name}_photo.png", rgb)
        save(f"{name}_mask.png", mask)
        save(f"{name}_trimap.png", t)
        save(f"{name}_alpha.png", alpha8)
        save(f"{name}_foreground.png", np.round(foreground * 255).astype(np.uint8))
    mask = np.asarray(Image.open(OUT / "astronaut_mask.png"))
    for size in (0, 1, 2, 7, 24):
        save(f"trimap_{size}.png", trimap(mask, 200, 40, size))


if __name__ == "__main__":
    main()
