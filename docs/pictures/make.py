"""Makes before-after.png from the photos in testdata, with the program itself.

usage: make.py ../../bin/cutout before-after.png   (needs numpy and Pillow)
"""

import io
import pathlib
import subprocess
import sys

import numpy
from PIL import Image

PHOTOS = pathlib.Path(__file__).parent.parent.parent / "testdata" / "photos"
HEIGHT, GAP = 256, 8
ROWS = [
    ("coffee.png", [[], ["--shadow-type", "3D", "--bg-color", "#f3eee6"]]),
    ("astronaut.png", [["--subject", "human"], ["--subject", "human", "--bg-color", "#2b5f8a"]]),
]


def checkerboard(width, height, side=10):
    y, x = numpy.mgrid[:height, :width]
    grey = numpy.where((x // side + y // side) % 2, 214, 255).astype(numpy.uint8)
    return Image.fromarray(numpy.stack([grey] * 3, -1))


def cut(program, photo, options):
    command = [program, "remove", str(photo), "-o", "-", *options]
    picture = Image.open(io.BytesIO(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)).convert("RGBA")
    below = checkerboard(*picture.size)
    below.paste(picture, (0, 0), picture)
    return below


def main():
    program, result = sys.argv[1:]
    rows = []
    for name, variants in ROWS:
        photo = PHOTOS / name
        pictures = [Image.open(photo).convert("RGB")] + [cut(program, photo, options) for options in variants]
        rows.append([p.resize((round(p.width * HEIGHT / p.height), HEIGHT), Image.Resampling.LANCZOS) for p in pictures])
    # Both rows in one, since the photos differ in shape.
    strip = [p for row in rows for p in row]
    width = sum(p.width for p in strip) + GAP * (len(strip) - 1)
    sheet = Image.new("RGB", (width, HEIGHT), "white")
    x = 0
    for picture in strip:
        sheet.paste(picture, (x, 0))
        x += picture.width + GAP
    sheet.save(result, optimize=True)


if __name__ == "__main__":
    main()
