"""Times cutout remove against rembg p on one folder of photos, alternately, in one run.

Both use u2netp. Without --photos the folder is made of the photos in testdata: 100 JPEGs of 1280 pixels, each cropped and
turned a little differently. Every measurement is a process of its own, from its start to its end, into an empty folder;
rounds take the programs in turn. cutout runs twice: with --quality fast, which is what rembg does, and as it is unless told
otherwise. At last it is interrupted and resumed, to see that nothing is lost.

usage: cli.py CUTOUT MODEL [--photos FOLDER] [--count 100] [--rounds 3] [--rembg PROGRAM]
"""

import argparse
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time


def make_photos(folder, count):
    from PIL import Image

    sources = sorted((pathlib.Path(__file__).parent.parent / "testdata" / "photos").glob("*.png"))
    for i in range(count):
        photo = Image.open(sources[i % len(sources)]).convert("RGB")
        inset = i // len(sources) % 8
        photo = photo.crop((inset, inset, photo.width - inset, photo.height - inset))
        if i % 2:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        scale = 1280 / max(photo.size)
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
        photo.save(folder / f"{i:03}.jpg", quality=90)


def timed(command, results, env=None):
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    return time.perf_counter() - start


def count_pictures(folder):
    from PIL import Image

    good = 0
    for path in folder.iterdir():
        with Image.open(path) as picture:
            picture.load()
            good += picture.mode == "RGBA"
    return good


def interrupted(cutout, photos, results, count, seconds):
    """Interrupts a run after so many seconds, resumes it, and returns how many results there were before and after."""
    shutil.rmtree(results, ignore_errors=True)
    command = [cutout, "remove", str(photos), "-o", f"{results}/", "--quality", "fast"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    run.send_signal(signal.SIGINT)
    code = run.wait()
    before = count_pictures(results)
    again = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    after = count_pictures(results)
    return code, before, after, again.stderr.strip().splitlines()[-1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cutout")
    parser.add_argument("model")
    parser.add_argument("--photos", default="")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rembg", default=str(pathlib.Path(sys.executable).parent / "rembg"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        top = pathlib.Path(folder)
        photos, results, models = top / "photos", top / "results", top / "models"
        models.mkdir()
        shutil.copy(args.model, models / "u2netp.onnx")
        if args.photos:
            photos = pathlib.Path(args.photos)
        else:
            photos.mkdir()
            make_photos(photos, args.count)
        count = sum(1 for p in photos.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
        # rembg verifies what it downloads; the file is the same, and nothing is to be downloaded.
        env = dict(os.environ, U2NET_HOME=str(models), MODEL_CHECKSUM_DISABLED="1")
        programs = {
            "rembg p -m u2netp": ([args.rembg, "p", "-m", "u2netp", str(photos), str(results)], env),
            "cutout remove --quality fast": ([args.cutout, "remove", str(photos), "-o", f"{results}/", "--quality", "fast"], None),
            "cutout remove": ([args.cutout, "remove", str(photos), "-o", f"{results}/"], None),
        }
        times = {name: [] for name in programs}
        for _ in range(args.rounds):
            for name, (command, environment) in programs.items():
                times[name].append(timed(command, results, environment))
                made = count_pictures(results)
                if made != count:
                    sys.exit(f"{name}: {made} results of {count}")
        base = times["rembg p -m u2netp"]
        print(f"{count} photos, {os.cpu_count()} cores, median of {args.rounds} rounds\n")
        print("| program | seconds | images a second | against rembg |")
        print("|---|---|---|---|")
        for name, seconds in times.items():
            ratio = statistics.median(b / s for b, s in zip(base, seconds))
            median = statistics.median(seconds)
            print(f"| `{name}` | {median:.1f} | {count / median:.2f} | {ratio:.2f} |")
        half = statistics.median(times["cutout remove --quality fast"]) / 2
        code, before, after, told = interrupted(args.cutout, photos, results, count, half)
        print(f"\nInterrupted after {half:.1f} s: exit {code}, {before} whole results; resumed: {after}. It said: {told}")
        if code != 130 or after != count or not 0 < before < count:
            sys.exit("the interrupted run was not resumed")


if __name__ == "__main__":
    main()
