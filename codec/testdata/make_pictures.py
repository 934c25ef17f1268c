"""Writes the pictures in pictures/ and beside each, as NAME.png, what Pillow makes of it: upright RGBA, 8 bits.

Run with numpy and Pillow installed:  python make_pictures.py
"""
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageOps

HERE = pathlib.Path(__file__).parent / "pictures"


def picture(w, h):
    """A smooth background with coloured shapes on it, so that chroma has edges."""
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([x * 255 // w, y * 255 // h, (x + y) * 255 // (w + h)], -1).astype(np.uint8)
    im = Image.fromarray(a)
    d = ImageDraw.Draw(im)
    d.ellipse((w // 5, h // 6, w // 2, h * 2 // 3), fill=(230, 30, 20))
    d.rectangle((w // 2, h // 2, w * 4 // 5, h * 5 // 6), fill=(20, 60, 220))
    d.line((0, h - 1, w - 1, 0), fill=(250, 250, 90), width=2)
    return im


def alpha(w, h):
    y, x = np.mgrid[0:h, 0:w]
    return Image.fromarray(np.clip((x - w // 4) * 1020 // w, 0, 255).astype(np.uint8) + 0 * y.astype(np.uint8))


def save(name, im, **options):
    im.save(HERE / name, **options)
    with Image.open(HERE / name) as read:
        reference(name, read)


def reference(name, read):
    read.seek(0)
    ImageOps.exif_transpose(read).convert("RGBA").save(HERE / (name + ".png"), optimize=True)


def main():
    HERE.mkdir(exist_ok=True)
    rgb = picture(61, 43)
    rgba = rgb.copy()
    rgba.putalpha(alpha(61, 43))
    for sub, name in enumerate(("444", "422", "420")):
        save(f"baseline_{name}.jpg", rgb, quality=90, subsampling=sub)
        save(f"progressive_{name}.jpg", rgb, quality=90, subsampling=sub, progressive=True)
    save("even_420.jpg", picture(64, 48), quality=85, subsampling=2)
    save("tiny_420.jpg", picture(3, 2), quality=90, subsampling=2)
    save("gray.jpg", rgb.convert("L"), quality=90)
    save("cmyk.jpg", rgb.convert("CMYK"), quality=90)
    save("rgb.png", rgb)
    save("rgba.png", rgba)
    save("gray.png", rgb.convert("L"))
    save("gray_alpha.png", rgba.convert("LA"))
    save("bits1.png", rgb.convert("1"))
    save("palette.png", rgb.quantize(200))
    save("palette_bits4.png", rgb.quantize(13), bits=4)
    save("palette_trns.png", rgb.quantize(200), transparency=bytes(range(0, 200)))
    save("rgb_trns.png", rgb, transparency=(230, 30, 20))
    save("first_frame.png", rgba, save_all=True, append_images=[rgba.transpose(Image.Transpose.ROTATE_180)])
    save("plain.gif", rgb.quantize(64))
    save("transparent.gif", rgb.quantize(64), transparency=7)
    save("animated.gif", rgb.quantize(64), save_all=True, append_images=[rgb.transpose(Image.Transpose.ROTATE_180).quantize(64)])
    save("lossy.webp", rgb, quality=80)
    save("lossy_even.webp", picture(64, 48), quality=80)
    save("lossy_alpha.webp", rgba, quality=80, exact=True)
    save("lossless.webp", rgb, lossless=True)
    save("lossless_alpha.webp", rgba, lossless=True, exact=True)
    save("animated.webp", rgba, save_all=True, append_images=[rgb.convert("RGBA")], lossless=True, exact=True)
    save("bits24.bmp", rgb)
    save("bits8.bmp", rgb.quantize(200))
    save("bits1.bmp", rgb.convert("1"))
    save("bits32.bmp", rgba)
    save("raw.tiff", rgb)
    save("deflate.tiff", rgba, compression="tiff_adobe_deflate")
    save("lzw.tiff", rgb, compression="tiff_lzw")
    exif = Image.Exif()
    exif[0x0112] = 6
    save("oriented.webp", rgb, quality=80, exif=exif)
    save("oriented.png", rgb, exif=exif)
    save("oriented.jpg", rgb, quality=90, exif=exif)


if __name__ == "__main__":
    main()
