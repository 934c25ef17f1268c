"""Takes the samples out of the services' pages, puts our host and paths into them and runs them to the end.

Called by samples.sh, in a folder of its own.
"""

import base64
import functools
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import requests
from PIL import Image, ImageChops

base, photo, pages = os.environ["BASE"], os.environ["PHOTO"], os.environ["PAGES"]
host = base.split("://")[1]
work = os.getcwd()
ran, skipped = [], []


def skip(what, why):
    skipped.append(what)
    print(f"skipped, {what}: {why}")


def passed(what, detail):
    ran.append(what)
    print(f"ok, {what}: {detail}")


def page(name):
    path = os.path.join(pages, name)
    if not os.path.exists(path):
        skip(name, f"there is no {path}")
        return None
    with open(path, encoding="utf-8") as f:
        return f.read()


def between(text, first, last, start=0):
    """The first part of a text from one phrase to the other, both included."""
    i = text.index(first, start)
    return text[i:text.index(last, i) + len(last)]


def replaced(text, changes):
    """Every change must be one: a page that reads otherwise than expected is no sample any more."""
    for old, new in changes.items():
        assert old in text, f"the page has no {old!r}"
        text = text.replace(old, new)
    return text


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def reference(quality):
    """What the terminal makes of the photo."""
    name = f"reference-{quality}.png"
    if not os.path.exists(name):
        run(["./cutout", "remove", photo, "-o", name, "--quality", quality])
    return Image.open(name)


def right(data, mode="RGBA", quality="balanced", like=None):
    """Looks at a picture: its size and mode, and how its alpha departs from the terminal's."""
    picture = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
    picture.load()
    want = reference(quality)
    assert picture.size == want.size, f"{picture.size}, want {want.size}"
    assert picture.mode == mode, f"{picture.mode}, want {mode}"
    got = picture.getchannel("A") if mode == "RGBA" else picture.convert("L")
    if like == "opaque":
        return f"{picture.format} {picture.size[0]}x{picture.size[1]}"
    histogram = ImageChops.difference(got, want.getchannel("A")).histogram()
    off = sum(i * n for i, n in enumerate(histogram)) / sum(histogram)
    assert off < 6, f"alpha departs from the terminal's by {off:.1f} of 255 on average"
    low, high = got.getextrema()
    assert (low, high) == (0, 255), f"alpha from {low} to {high}"
    return f"{picture.format} {picture.size[0]}x{picture.size[1]}, alpha {off:.2f} of 255 off the terminal's"


def commands(text):
    """The curl commands of a page, with the lines that continue them."""
    found, open_ended = [], False
    for line in text.splitlines():
        line = re.sub(r"^\$ ", "", line)
        if open_ended:
            found[-1] += "\n" + line
        elif line.startswith("curl "):
            found.append(line)
        else:
            continue
        open_ended = line.endswith("\\") or found[-1].count("'") % 2 == 1
    return found


class Files(http.server.SimpleHTTPRequestHandler):
    """Stands for the hosts of the samples' pictures."""

    def do_GET(self):
        with open(photo if "bg" not in self.path else "bg.png", "rb") as f:
            data = f.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files))
threading.Thread(target=files.serve_forever, daemon=True).start()
files_base = f"http://127.0.0.1:{files.server_port}"

shutil.copy(photo, "img.jpg")
for name in ("product-photo.jpg", "image.jpeg"):
    Image.open(photo).convert("RGB").save(name, quality=95)
Image.new("RGB", (300, 200), (10, 120, 200)).save("bg.png")
shutil.copy("bg.png", "bg.jpg")


def api4ai():
    text = page("api4ai.txt")
    if text is None:
        return
    text = replaced(text, {"https://background-removal4.p.rapidapi.com": base, "https://storage.googleapis.com": files_base})
    done = []
    for command in dict.fromkeys(commands(text)):
        out = run(["sh", "-c", command])
        if "/version" in command:
            assert re.fullmatch(r"v\d+\.\d+\.\d+", out), out
        elif "/modes" in command:
            assert json.loads(out) == ["fg-image", "fg-image-shadow", "fg-mask"], out
        else:
            result = json.loads(out)["results"][0]
            assert result["status"] == {"code": "ok", "message": "Success"}, out[:500]
            data = base64.b64decode(result["entities"][0]["image"])
            assert result["entities"][1]["objects"], "no object was found"
            if "bg" in command.split("-F", 1)[1]:
                right(data, like="opaque")
            elif "shadow" in command:
                right(data, like="opaque")
            else:
                right(data, mode="L" if "fg-mask" in command else "RGBA")
        done.append(command)
    assert len(done) >= 9, done
    passed("API4AI, curl", f"{len(done)} commands")


def apisphere():
    text = page("apisphere.txt")
    if text is None:
        return
    command = commands(replaced(text, {"https://your-rapidapi-host": base}))[0]
    picture = Image.open(io.BytesIO(subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout))
    picture.load()
    assert picture.format == "JPEG" and picture.getpixel((0, 0)) == (255, 255, 255), (picture.format, picture.getpixel((0, 0)))
    passed("APISphere, curl", f"{picture.format} {picture.size[0]}x{picture.size[1]} on white")


def ximilar():
    text = page("ximilar.txt")
    if text is None:
        return
    [command] = commands(text)
    out = json.loads(run(["sh", "-c", replaced(command, {"https://api.ximilar.com": base, "https://bit.ly": files_base})]))
    [record] = out["records"]
    assert record["_status"]["code"] == out["status"]["code"] == 200, out
    size = Image.open(photo).size
    assert (record["_width"], record["_height"]) == size, record
    detail = right(requests.get(record["_output_url"]).content, quality="precise")
    mask = Image.open(io.BytesIO(requests.get(record["_output_url_mask"]).content))
    white = Image.open(io.BytesIO(requests.get(record["_output_url_whitebg"]).content))
    assert (mask.format, mask.mode, white.format, mask.size, white.size) == ("JPEG", "L", "JPEG", size, size), (mask, white)
    passed("Ximilar, curl", detail)


def ximilar_client():
    from ximilar.client import RemoveBGClient

    client = RemoveBGClient("__API_TOKEN__", endpoint=base + "/")
    record = {"_url": files_base + "/photo.png", "binary_mask": True, "white_background": True}
    for method, quality in ((client.removebg_precise, "precise"), (client.removebg_fast, "fast")):
        out = method([dict(record)])
        assert out["status"]["code"] == 200, out
        got = out["records"][0]
        detail = right(requests.get(got["_output_url"]).content, quality=quality)
        assert got["_output_url_mask"].endswith(".jpg") or got["_output_url_mask"].endswith(".png"), got
        passed(f"ximilar-client, {quality}", detail)
    with open(photo, "rb") as f:
        encoded = base64.b64encode(f.read()).decode()
    out = client.removebg_fast([{"_base64": encoded}, {"_url": record["_url"]}, {"_url": files_base.replace("127.0.0.1", "127.0.0.1.invalid") + "/x"}])
    codes = [r["_status"]["code"] for r in out["records"]]
    assert codes == [200, 200, 400], codes
    assert client.get_user_details()["id"], "no account"
    passed("ximilar-client, a mixed batch", f"codes {codes}")
    out = client.removebg_precise([{"_file": photo}])
    passed("ximilar-client, a file", right(requests.get(out["records"][0]["_output_url"]).content, quality="precise"))


def backgroundremoverai(language):
    text = page(f"backgroundremoverai.{language}.txt")
    if text is None:
        return
    name = f"BackgroundRemoverAI, {language}"
    python = between(text, "import requests", "\nget_results(resp)\n")
    php = between(text, "<?php", "\n?>")
    javascript = between(text, "const request = require", "\nconvertFiles(file_list);")
    curls = commands(text)[:2]
    for sample in (python, php, javascript, curls[0]):
        assert "image-backgroundremover" in sample, sample

    folder = os.path.join(work, "python-" + language)
    os.makedirs(os.path.join(folder, "testfiles"))
    shutil.copy("image.jpeg", os.path.join(folder, "testfiles"))
    sample = replaced(python, {'api_domain = "api.backgroundremoverai.com"': f'api_domain = "{host}"', 'port = "https"': 'port = "http"'})
    run([sys.executable, "-c", sample], cwd=folder)
    passed(name + ", Python", right(os.path.join(folder, "image_processed.png"), quality="precise"))

    if shutil.which("php") and "curl" in run(["php", "-m"]).split():
        folder = os.path.join(work, "php-" + language)
        os.makedirs(folder)
        sample = replaced(php, {"https://api.backgroundremoverai.com": base, "/path/to/files": work, "/path/to/result/files": folder})
        with open(os.path.join(folder, "sample.php"), "w", encoding="utf-8") as f:
            f.write(sample)
        run(["php", os.path.join(folder, "sample.php")])
        passed(name + ", PHP", right(os.path.join(folder, "image_processed.png"), quality="precise"))
    else:
        skip(name + ", PHP", "there is no php with curl")

    if shutil.which("node") and os.path.exists("node_modules/request"):
        sample = replaced(javascript, {"https://api.backgroundremoverai.com": base, "/testfiles/blah.jpeg": work + "/image.jpeg"})
        with open("sample.js", "w", encoding="utf-8") as f:
            f.write(sample)
        out = run(["node", "sample.js"])
        assert "finished: true" in out and "image_processed.png" in out, out
        path = re.search(r"url: '([^']+)'", out).group(1)
        passed(name + ", JavaScript", right(requests.get(base + path).content, quality="precise"))
    else:
        skip(name + ", JavaScript", "there is no node with the package request")

    convert, poll = (replaced(c, {"https://api.backgroundremoverai.com": base}) for c in curls)
    uuid = json.loads(run(["sh", "-c", convert]))["uuid"]
    for _ in range(600):
        out = json.loads(run(["sh", "-c", poll.replace("conversion_uuid", uuid)]))
        if out["finished"]:
            break
        time.sleep(0.2)
    [result] = out["files"]
    # A client that joins the host, a slash and the path.
    passed(name + ", curl", right(requests.get(base + "/" + result["url"]).content, quality="balanced"))


def clip(path):
    """What ffprobe says of a result with alpha: the samples name no format."""
    out = json.loads(run(["ffprobe", "-v", "error", "-of", "json", "-show_entries", "stream=codec_name,pix_fmt,nb_frames", path]))
    picture = next(s for s in out["streams"] if "pix_fmt" in s)
    assert picture["codec_name"] == "prores" and picture["pix_fmt"].startswith("yuva444p") and picture["nb_frames"] == "5", out
    assert any(s["codec_name"] == "aac" for s in out["streams"]), out
    return "ProRes with alpha, 5 frames, sound"


def backgroundremoverai_video(language):
    text = page(f"backgroundremoverai.{language}.txt")
    if text is None:
        return
    name = f"BackgroundRemoverAI, video, {language}"
    if not shutil.which("ffmpeg") or not shutil.which("ffprobe"):
        skip(name, "there is no ffmpeg")
        return
    if not os.path.exists("video.mp4"):
        run(["ffmpeg", "-v", "error", "-nostdin", "-loop", "1", "-i", "image.jpeg", "-f", "lavfi", "-i", "sine", "-t", "1", "-r", "5", "-vf", "scale=128:128",
             "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "video.mp4"])
    start = text.index("video-backgroundremover")
    start = text.rindex("import requests", 0, start)
    python = between(text, "import requests", "\nget_results(resp)\n", start)
    php = between(text, "<?php", "\n?>", start)
    javascript = between(text, "const request = require", "\nconvertFiles(file_list);", start)
    curls = commands(text[start:])[:2]
    for sample in (python, php, javascript, curls[0]):
        assert "video-backgroundremover" in sample, sample

    folder = os.path.join(work, "video-python-" + language)
    os.makedirs(os.path.join(folder, "testfiles"))
    shutil.copy("video.mp4", os.path.join(folder, "testfiles"))
    sample = replaced(python, {'api_domain = "api.backgroundremoverai.com"': f'api_domain = "{host}"', 'port = "https"': 'port = "http"'})
    run([sys.executable, "-c", sample], cwd=folder)
    # The sample looks for "finished" where it has it, and downloads in the call that sees it.
    passed(name + ", Python", clip(os.path.join(folder, "video_processed.mov")))

    if shutil.which("php") and "curl" in run(["php", "-m"]).split():
        folder = os.path.join(work, "video-php-" + language)
        os.makedirs(folder)
        sample = replaced(php, {
            "https://api.backgroundremoverai.com": base, "/path/to/files/blah.mp4": work + "/video.mp4", "/path/to/result/files": folder,
        })
        with open(os.path.join(folder, "sample.php"), "w", encoding="utf-8") as f:
            f.write(sample)
        run(["php", os.path.join(folder, "sample.php")])
        passed(name + ", PHP", clip(os.path.join(folder, "video_processed.mov")))
    else:
        skip(name + ", PHP", "there is no php with curl")

    if shutil.which("node") and os.path.exists("node_modules/request"):
        sample = replaced(javascript, {"https://api.backgroundremoverai.com": base, "/testfiles/blah.mp4": work + "/video.mp4"})
        with open("sample.js", "w", encoding="utf-8") as f:
            f.write(sample)
        out = run(["node", "sample.js"])
        assert "finished: true" in out and "video_processed.mov" in out, out
        path = re.search(r"url: '([^']+)'", out).group(1)
        with open("node.mov", "wb") as f:
            f.write(requests.get(base + path).content)
        passed(name + ", JavaScript", clip("node.mov"))
    else:
        skip(name + ", JavaScript", "there is no node with the package request")

    convert, poll = (replaced(c, {"https://api.backgroundremoverai.com": base}) for c in curls)
    uuid = json.loads(run(["sh", "-c", convert]))["uuid"]
    for _ in range(600):
        out = json.loads(run(["sh", "-c", poll.replace("conversion_uuid", uuid)]))
        if out["finished"]:
            break
        time.sleep(0.5)
    [result] = out["files"]
    with open("curl.mov", "wb") as f:
        f.write(requests.get(base + result["url"]).content)
    passed(name + ", curl", clip("curl.mov"))


api4ai()
apisphere()
ximilar()
ximilar_client()
for language in ("de", "es"):
    backgroundremoverai(language)
    backgroundremoverai_video(language)
print(f"{len(ran)} samples ran to the end, {len(skipped)} were skipped")
