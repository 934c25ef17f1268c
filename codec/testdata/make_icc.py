"""Writes p3.png, adobe.png, table.jpg: colours in an RGB space other than sRGB, the profile embedded, and beside each, as
NAME.srgb.png, what Little CMS (through Pillow) makes of them in sRGB.

Run with numpy and Pillow installed:  python make_icc.py
The profiles are made here, from the published primaries (adapted to D50) and curves.
"""
import io
import pathlib
import struct

import numpy as np
from PIL import Image, ImageCms

HERE = pathlib.Path(__file__).parent


def fixed(v):
    return struct.pack(">i", round(v * 65536))


def para(*params):
    kinds = {1: 0, 5: 3, 7: 4}
    return b"para" + bytes(4) + struct.pack(">HH", kinds[len(params)], 0) + b"".join(map(fixed, params))


def curv(*values):
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + b"".join(struct.pack(">H", v) for v in values)


def profile(columns, curve):
    tags = {b"desc": b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 8, 28) + "test".encode("utf-16-be"),
            b"cprt": b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 8, 28) + "none".encode("utf-16-be"),
            b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)}
    for name, column in zip("rgb", columns):
        tags[name.encode() + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, column))
        tags[name.encode() + b"TRC"] = curve
    at, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for sig, body in tags.items():
        body += bytes(-len(body) % 4)
        table += sig + struct.pack(">II", at + len(data), len(body))
        data += body
    body = struct.pack(">I", len(tags)) + table + data
    head = struct.pack(">I4sI4s4s4s12s4s", 128 + len(body), bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ",
                       struct.pack(">6H", 2020, 1, 1, 0, 0, 0), b"acsp")
    head += bytes(68 - len(head)) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return head + bytes(128 - len(head)) + body


def colours():
    """16 x 16 x 16 colours of the cube and a row of dark greys."""
    steps = np.arange(16) * 17
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(64, 64, 3)
    dark = np.repeat(np.arange(64)[None, :, None], 3, 2)
    return Image.fromarray(np.vstack([cube, dark]).astype(np.uint8))


def main():
    srgb_curve = para(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    p3 = profile([(0.515121, 0.241196, -0.001053), (0.291977, 0.692245, 0.041885), (0.157104, 0.066574, 0.784073)], srgb_curve)
    adobe = profile([(0.609741, 0.311111, 0.019470), (0.205276, 0.625671, 0.060867), (0.149185, 0.063217, 0.744568)], curv(0x0233))
    table = profile([(0.609741, 0.311111, 0.019470), (0.205276, 0.625671, 0.060867), (0.149185, 0.063217, 0.744568)],
                    curv(*[round(65535 * (i / 255) ** 1.8) for i in range(256)]))
    srgb = ImageCms.createProfile("sRGB")
    for name, icc, picture in (("p3.png", p3, colours()), ("adobe.png", adobe, colours()), ("table.jpg", table, colours())):
        if name.endswith("jpg"):
            buffer = io.BytesIO()
            # Pale colours: near black the conversion would magnify what JPEG decoders differ by.
            picture = picture.resize((128, 130), Image.Resampling.BICUBIC).point(lambda v: 64 + v // 2)
            picture.save(buffer, "jpeg", quality=95, icc_profile=icc)
            (HERE / name).write_bytes(buffer.getvalue())
            picture = Image.open(buffer).convert("RGB")
        else:
            picture.save(HERE / name, icc_profile=icc, optimize=True)
        out = ImageCms.profileToProfile(picture, ImageCms.ImageCmsProfile(io.BytesIO(icc)), srgb,
                                        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC)
        out.info.pop("icc_profile", None)
        out.save(HERE / (name.split(".")[0] + ".srgb.png"), optimize=True)


if __name__ == "__main__":
    main()
