"""Times the engine against ONNX Runtime and OpenVINO on one model, alternately, in one run.

Every measurement is a process of its own: load, one run that is not counted, RUNS timed runs, peak resident memory. Rounds
take the engines in turn, so that a drifting machine hurts all of them alike; the table shows the median of the rounds and
the median of the ratios round by round.

usage: engine.py CUTOUT MODEL [--threads 1 2] [--runs 10] [--rounds 3] [--cpu auto avx2] [--shape 1,3,320,320]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time


def resident():
    """Peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def random_input(shape):
    import numpy

    return numpy.random.RandomState(0).rand(*shape).astype(numpy.float32)


def timed(run, runs):
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def child_onnxruntime(model, threads, runs, shape):
    import numpy
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    before = resident()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = shape or [d if isinstance(d, int) else 1 for d in entry.shape]
    kind = {"tensor(float)": numpy.float32, "tensor(float16)": numpy.float16}[entry.type]
    feed = {entry.name: random_input(shape).astype(kind)}
    wanted = [session.get_outputs()[0].name]
    times = timed(lambda: session.run(wanted, feed), runs)
    return times, resident() - before


def child_openvino(model, threads, runs, shape, precision):
    import openvino

    before = resident()
    core = openvino.Core()
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    network = core.read_model(model)
    shape = shape or [d.get_length() if d.is_static else 1 for d in network.inputs[0].partial_shape]
    network.reshape({network.inputs[0]: shape})
    request = core.compile_model(network, "CPU", config).create_infer_request()
    data = random_input(shape)
    times = timed(lambda: request.infer({0: data}), runs)
    return times, resident() - before


def child(args):
    if args.child == "onnxruntime":
        times, added = child_onnxruntime(args.model, args.threads[0], args.runs, args.shape)
    else:
        times, added = child_openvino(args.model, args.threads[0], args.runs, args.shape, args.child.split("-")[1])
    print(json.dumps({"median_ms": statistics.median(times), "min_ms": min(times), "added_rss_mb": added}))


def measure(engine, args, threads):
    common = ["--threads", str(threads), "--runs", str(args.runs)]
    if engine.startswith("cutout"):
        cpu = engine.partition("/")[2] or "auto"
        command = [args.cutout, "bench", "infer", "--model", args.model, "--cpu", cpu, "--json", *common]
    else:
        command = [sys.executable, __file__, args.cutout, args.model, "--child", engine, *common]
        if args.shape:
            command += ["--shape", ",".join(map(str, args.shape))]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cutout")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", nargs="*", default=["auto"])
    parser.add_argument("--shape", type=lambda s: [int(v) for v in s.split(",")])
    parser.add_argument("--peers", nargs="*", default=["onnxruntime", "openvino-f32", "openvino-bf16"])
    parser.add_argument("--child")
    args = parser.parse_args()
    if args.child:
        return child(args)
    ours = ["cutout" if c == "auto" else f"cutout/{c}" for c in args.cpu]
    print("| threads | engine | median ms | min ms | memory MB | cutout is faster by |")
    print("|---|---|---|---|---|---|")
    for threads in args.threads:
        results = {engine: [] for engine in ours + args.peers}
        for _ in range(args.rounds):
            for engine in results:
                results[engine].append(measure(engine, args, threads))
        for engine, rounds in results.items():
            good = [r for r in rounds if r]
            if len(good) < len(rounds):
                print(f"| {threads} | {engine} | does not run here | | | |")
                continue
            median = statistics.median(r["median_ms"] for r in good)
            least = min(r["min_ms"] for r in good)
            memory = max(r.get("added_rss_mb", r.get("peak_rss_mb", 0)) for r in good)
            ratio = "" if engine == ours[0] else f"{statistics.median(r['median_ms'] / o['median_ms'] for r, o in zip(good, results[ours[0]])):.2f}"
            print(f"| {threads} | {engine} | {median:.1f} | {least:.1f} | {memory:.0f} | {ratio} |", flush=True)
    print("\nMemory of cutout is the whole process; of the others what loading and running adds to Python.")


if __name__ == "__main__":
    sys.exit(main())
