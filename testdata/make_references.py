"""Makes the photos and the network references that the tests compare with.

    python -m venv .venv && .venv/bin/pip install -r testdata/requirements.txt
    .venv/bin/python testdata/make_references.py

Photos come from scikit-image, network outputs from ONNX Runtime. The portrait models are not part of the repository:
their references are made again only when --models names the directory they are in.
"""

import argparse
import pathlib

import numpy
import onnxruntime
import skimage.data
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).resolve().parent
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def photos():
    """The four photos, at most 384 pixels wide or high, and a variant of each with another content or shape."""
    full = {name: Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
            for name in ("astronaut", "chelsea", "coffee", "rocket")}
    made = {}
    for name, image in full.items():
        small = image.copy()
        small.thumbnail((384, 384), Image.Resampling.LANCZOS)
        made[name] = small
    made["astronaut-crop"] = full["astronaut"].crop((96, 0, 333, 301))
    made["chelsea-mirrored"] = ImageOps.mirror(full["chelsea"].crop((40, 10, 391, 300)))
    made["coffee-turned"] = full["coffee"].crop((150, 40, 550, 400)).rotate(90, expand=True).resize((297, 330), Image.Resampling.LANCZOS)
    made["rocket-crop"] = ImageOps.mirror(full["rocket"].crop((220, 30, 420, 427)))
    return made


def run(model, tensor):
    """All outputs of a model for one input tensor, computed on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: tensor})


def u2netp_input(image):
    """float32 1x3x320x320: stretched, divided by the maximum, ImageNet mean and deviation."""
    scaled = numpy.asarray(image.resize((320, 320), Image.Resampling.LANCZOS)).astype(numpy.float64)
    scaled = scaled / max(scaled.max(), 1e-6)
    normal = (scaled - MEAN) / STD
    return numpy.ascontiguousarray(normal.transpose(2, 0, 1)[None].astype(numpy.float32))


def mask(scores, size):
    """8-bit mask of the given size: stretched to 0..1, cut to whole numbers, scaled with Lanczos."""
    scores = scores[0, 0]
    scores = (scores - scores.min()) / (scores.max() - scores.min())
    return Image.fromarray((scores * 255).astype(numpy.uint8)).resize(size, Image.Resampling.LANCZOS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, help="directory with selfie_segmentation.onnx and mediapipe.onnx")
    args = parser.parse_args()

    for folder in ("photos", "u2netp"):
        (HERE / folder).mkdir(exist_ok=True)
    images = photos()
    for name, image in images.items():
        image.save(HERE / "photos" / f"{name}.png", optimize=True)
        tensor = u2netp_input(image)
        scores = run(HERE.parent / "weights" / "u2netp.onnx", tensor)[0]
        numpy.save(HERE / "u2netp" / f"{name}.scores.npy", scores)
        mask(scores, image.size).save(HERE / "u2netp" / f"{name}.mask.png", optimize=True)
        if name == "astronaut":
            numpy.save(HERE / "u2netp" / f"{name}.input.npy", tensor)
        print(f"{name}: {image.size[0]}x{image.size[1]}, scores {scores.min():.4f} to {scores.max():.4f}")

    if args.models is None:
        return
    for model, size in (("selfie_segmentation", (256, 256)), ("mediapipe", (256, 144))):
        (HERE / model).mkdir(exist_ok=True)
        scaled = images["astronaut"].resize(size, Image.Resampling.BILINEAR)
        scaled.save(HERE / model / "astronaut.input.png", optimize=True)
        tensor = (numpy.asarray(scaled).astype(numpy.float32) / numpy.float32(255))[None]
        scores = run(args.models / f"{model}.onnx", tensor)[0]
        numpy.save(HERE / model / "astronaut.scores.npy", scores)
        print(f"{model}: {scores.shape}, scores {scores.min():.4f} to {scores.max():.4f}")


if __name__ == "__main__":
    main()
