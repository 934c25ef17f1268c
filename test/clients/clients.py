"""Drives the PyPI package removebg, and python-requests as API4AI's samples do."""

import base64
import os
import shutil

import requests
from removebg import RemoveBg

base, key, photo = os.environ["BASE"], os.environ["KEY"], os.environ["PHOTO"]


def starts_with(name, magic):
    with open(name, "rb") as f:
        head = f.read(len(magic))
    assert head == magic, f"{name} begins with {head!r}"
    print("removebg:", name)


PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
shutil.copy(photo, "photo.png")
client = RemoveBg(key, "error.log")
client.remove_background_from_img_file("photo.png")
starts_with("photo.png_no_bg.png", PNG)
client.remove_background_from_img_file("photo.png", size="4k", bg_color="red")
starts_with("photo.png_no_bg.png", JPEG)  # nothing of it is transparent
with open(photo, "rb") as f:
    client.remove_background_from_base64_img(base64.b64encode(f.read()), new_file_name="base64.png")
starts_with("base64.png", PNG)
try:
    RemoveBg("wrong", "error.log").remove_background_from_img_file("photo.png")
except requests.HTTPError as e:
    assert e.response.status_code == 403 and e.response.json()["errors"][0]["title"], e
else:
    raise AssertionError("a wrong key is taken")

with open(photo, "rb") as f:
    reply = requests.post(base + "/img-bg-removal/v1/results", headers={"X-API-KEY": key},
                          params={"mode": "fg-mask"}, files={"image": f})
result = reply.json()["results"][0]
assert reply.ok and result["status"]["code"] == "ok", reply.text
assert base64.b64decode(result["entities"][0]["image"]).startswith(PNG)
print("requests: API4AI")
