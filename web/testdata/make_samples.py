"""Makes the photos that the page offers to try, and the cutout that its front shows.

    python -m venv .venv && .venv/bin/pip install -r testdata/requirements.txt
    .venv/bin/python web/testdata/make_samples.py bin/cutout

The photos come from scikit-image; the cutout is made of the photo by the program itself.
"""

import pathlib
import subprocess
import sys
import tempfile

import skimage.data
from PIL import Image

ASSETS = pathlib.Path(__file__).resolve().parent.parent / "assets"

for name, source in {"cup": "coffee", "astronaut": "astronaut", "cat": "chelsea"}.items():
    photo = Image.fromarray(getattr(skimage.data, source)()).convert("RGB")
    photo.thumbnail((600, 448), Image.Resampling.LANCZOS)
    photo.save(ASSETS / f"{name}.jpg", quality=74, progressive=True, optimize=True)
    if name == "cup":
        with tempfile.TemporaryDirectory() as folder:
            photo.save(f"{folder}/photo.png")
            subprocess.run([sys.argv[1], "remove", f"{folder}/photo.png", "-o", f"{folder}/cut.png", "--quality", "precise"], check=True)
            Image.open(f"{folder}/cut.png").save(ASSETS / f"{name}-cutout.webp", quality=66, method=6, alpha_quality=80)
