"""Times cutout against rembg's server: same machine, same photos, same requests, in one run.

Both serve rembg's API on the loopback interface, each in a process of its own, both with u2netp. Photos are cut square and
resampled to each size; requests go to the servers in turn, so that a drifting machine hurts both alike.

usage: e2e.py CUTOUT WEIGHTS DATA [--sizes 512 1380 4000] [--rounds 5] [--clients 8] [--mixed 300]
       CUTOUT   the binary
       WEIGHTS  u2netp.onnx
       DATA     folder with photos in gt/*/image
"""

import argparse
import concurrent.futures
import glob
import http.client
import io
import itertools
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from PIL import Image

PHOTOS = 7
BOUNDARY = "cutout-bench-7d1f4c"


def photos(data, sizes):
    """JPEG files of the largest photos, by size."""
    found = []
    for path in glob.glob(os.path.join(data, "gt", "*", "image", "*.jpg")):
        with Image.open(path) as m:
            found.append((min(m.size), path))
    if len(found) < PHOTOS:
        sys.exit(f"there are fewer than {PHOTOS} photos in {data}/gt/*/image")
    out = {size: [] for size in sizes}
    for side, path in sorted(found, reverse=True)[:PHOTOS]:
        m = Image.open(path).convert("RGB")
        left, top = (m.width - side) // 2, (m.height - side) // 2
        m = m.crop((left, top, left + side, top + side))
        for size in sizes:
            b = io.BytesIO()
            m.resize((size, size), Image.Resampling.LANCZOS).save(b, "JPEG", quality=90)
            out[size].append(b.getvalue())
    return out


numbers = itertools.count()


def unique(jpeg):
    """The same photo with a comment that no other has, so that no cache knows it."""
    return jpeg[:2] + b"\xff\xfe\x00\x0e%012d" % next(numbers) + jpeg[2:]


def form(photo, fields):
    b = io.BytesIO()
    for name, value in fields.items():
        b.write(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    b.write(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n".encode())
    b.write(photo)
    b.write(f"\r\n--{BOUNDARY}--\r\n".encode())
    return b.getvalue()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A running server. start_s is the time from its start to its first answer."""

    def __init__(self, name, command, port, probe, env, log):
        self.name, self.port = name, port
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
        while True:
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                c.request("GET", probe)
                ok = c.getresponse().status == 200
                c.close()
                if ok:
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.perf_counter() - start > 120:
                self.stop()
                sys.exit(f"{name} does not start; see {log.name}")
            time.sleep(0.005)
        self.start_s = time.perf_counter() - start

    def remove(self, photo, fields, side):
        """Sends one photo and gives the time to the last byte of the result."""
        body = form(unique(photo), {"model": "u2netp", **fields})
        start = time.perf_counter()
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        c.request("POST", "/api/remove", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        r = c.getresponse()
        data = r.read()
        c.close()
        took = time.perf_counter() - start
        if r.status != 200 or Image.open(io.BytesIO(data)).size != (side, side):
            raise RuntimeError(f"{self.name}: {r.status} {data[:200]!r}")
        return took

    def memory(self, field):
        """VmRSS or VmHWM in MB."""
        with open(f"/proc/{self.process.pid}/status") as f:
            for line in f:
                if line.startswith(field):
                    return int(line.split()[1]) / 1024
        return float("nan")

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def one_client(servers, jpegs, side, fields, rounds):
    """Median seconds of each server; fields gives the form of each."""
    times = [[] for _ in servers]
    for k, s in enumerate(servers):  # not counted
        s.remove(jpegs[0], fields[k], side)
    for _ in range(rounds):
        for photo in jpegs:
            for k, s in enumerate(servers):
                times[k].append(s.remove(photo, fields[k], side))
    return [statistics.median(t) for t in times]


def many_clients(servers, jpegs, side, clients, requests, rounds):
    """Median requests a second of each server."""
    rates = [[] for _ in servers]
    for _ in range(rounds):
        for k, s in enumerate(servers):
            with concurrent.futures.ThreadPoolExecutor(clients) as pool:
                start = time.perf_counter()
                list(pool.map(lambda i, s=s: s.remove(jpegs[i % len(jpegs)], {}, side), range(requests)))
                rates[k].append(requests / (time.perf_counter() - start))
    return [statistics.median(r) for r in rates]


def mixed(server, jpegs, sizes, requests, clients):
    """Sends photos of all sizes, mostly small ones, and gives resident memory afterwards."""
    order = [sizes[0], sizes[0], sizes[1 % len(sizes)], sizes[0], sizes[1 % len(sizes)], sizes[0],
             sizes[0], sizes[-1], sizes[1 % len(sizes)], sizes[0]]

    def send(i):
        size = order[i % len(order)]
        server.remove(jpegs[size][i % PHOTOS], {}, size)

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, range(requests)))
    return server.memory("VmRSS")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cutout")
    parser.add_argument("weights")
    parser.add_argument("data")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1380, 4000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--mixed", type=int, default=300)
    parser.add_argument("--rembg", default=os.path.join(os.path.dirname(sys.executable), "rembg"))
    args = parser.parse_args()
    middle = args.sizes[len(args.sizes) // 2]
    jpegs = photos(args.data, args.sizes)

    home = tempfile.mkdtemp(prefix="cutout-bench-")
    shutil.copy(args.weights, os.path.join(home, "u2netp.onnx"))
    # Whatever would be downloaded fails at once.
    nowhere = "http://127.0.0.1:9"
    env = dict(os.environ, U2NET_HOME=home, HF_HUB_OFFLINE="1", http_proxy=nowhere, https_proxy=nowhere, no_proxy="127.0.0.1")
    log = open(os.path.join(home, "servers.log"), "w")
    servers = []
    try:
        port = free_port()
        # rembg lets everybody wait for ever; on a busy machine our default of 10 s would refuse some.
        ours = Server("cutout", [args.cutout, "serve", "--addr", f"127.0.0.1:{port}", "--data-dir", os.path.join(home, "data"),
                                 "--queue", str(8 * args.clients), "--queue-wait", "100s"],
                      port, "/readyz", env, log)
        servers.append(ours)
        port = free_port()
        theirs = Server("rembg", [args.rembg, "s", "--no-ui", "--host", "127.0.0.1", "--port", str(port), "--log_level", "error"],
                        port, "/openapi.json", env, log)
        servers.append(theirs)
        print("| | cutout | rembg | cutout is better by |\n|---|---|---|---|", flush=True)

        def row(what, a, b, unit, more_is_better=False):
            ratio = a / b if more_is_better else b / a
            print(f"| {what} | {a:.4g} {unit} | {b:.4g} {unit} | {ratio:.2f} |", flush=True)

        row("first answer after the start", ours.start_s * 1e3, theirs.start_s * 1e3, "ms")
        plain = [{}, {}]
        for size in args.sizes:
            a, b = one_client(servers, jpegs[size], size, plain, args.rounds)
            row(f"{size}x{size}, `fast`, 1 client", a * 1e3, b * 1e3, "ms")
        a, b = one_client(servers, jpegs[middle], middle, [{"dc": "true"}, {}], args.rounds)
        row(f"{middle}x{middle}, `balanced` against the plain mask, 1 client", a * 1e3, b * 1e3, "ms")
        matting = {"a": "true"}
        a, b = one_client(servers, jpegs[middle], middle, [matting, matting], max(1, args.rounds // 3))
        row(f"{middle}x{middle}, matting (`precise`), 1 client", a * 1e3, b * 1e3, "ms")
        a, b = many_clients(servers, jpegs[middle], middle, args.clients, 5 * args.clients, max(1, args.rounds // 2))
        row(f"{middle}x{middle}, `fast`, {args.clients} clients", a, b, "photos/s", True)
        a, b = (mixed(s, jpegs, args.sizes, args.mixed, args.clients // 2) for s in servers)
        row(f"resident memory after {args.mixed} more requests of all sizes, {args.clients // 2} at a time", a, b, "MB")
        row("most resident memory at any time", ours.memory("VmHWM"), theirs.memory("VmHWM"), "MB")
    finally:
        for s in servers:
            s.stop()
        log.close()
        if sys.exc_info()[0] is None:
            shutil.rmtree(home, ignore_errors=True)
        else:
            print(f"the servers' log is {home}/servers.log", file=sys.stderr)


if __name__ == "__main__":
    main()
