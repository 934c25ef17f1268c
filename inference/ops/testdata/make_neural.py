"""Writes neural.json.gz: random calls of the operators with weights and windows, answered by ONNX Runtime.

    python make_neural.py [cases per operator [seed [file]]]

Needs numpy, onnx and onnxruntime; made with onnxruntime 1.31.0. Calls that ONNX Runtime refuses are left out, and
so are those where it departs from the specification and from ONNX's reference (see disputed and confirmed).
"""
import gzip
import json
import pathlib
import random
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
rng = random.Random()


def values(shape, dtype=np.float32):
    if dtype == np.float32:  # few distinct digits keep the file small
        n = int(np.prod(shape))
        return np.array([rng.randint(-32, 32) / 8 for _ in range(n)], np.float32).reshape(shape)
    info = np.iinfo(dtype)
    n = int(np.prod(shape))
    return np.array([rng.randint(info.min, info.max) for _ in range(n)], dtype).reshape(shape)


def some(chance=0.5):
    return rng.random() < chance


def disputed(op, a, size, kernel):
    """Whether ONNX Runtime departs from the specification for this window, or the outcome is nobody's business."""
    axes = len(size)
    d, s = a.get("dilations", [1] * axes), a.get("strides", [1] * axes)
    span = [(kernel[i] - 1) * d[i] + 1 for i in range(axes)]
    same = a.get("auto_pad", "").startswith("SAME")
    if op == "ConvTranspose":  # the output is smaller than the specification's input times stride
        return same and any(span[i] < s[i] for i in range(axes))
    if "Pool" in op:
        if same:  # dilations are forgotten, and pads of windows narrower than their stride become negative
            return any(x > 1 for x in d) or any(span[i] < s[i] for i in range(axes))
        pads = a.get("pads", [0] * 2 * axes)
        if any(size[i] + pads[i] + pads[i + axes] < span[i] for i in range(axes)):
            return True  # kernels that do not fit
        # windows wholly in the padding
        return any(d[i] > 1 and size[i] < span[i] for i in range(axes))
    return False


def spatial(axes, lo=1, hi=9):
    return [rng.randint(lo, [0, 4 * hi, hi, 5][axes]) for _ in range(axes)]


def window(axes, pads_below=None):
    """Random strides, dilations and pads; auto_pad instead of pads at times."""
    a = {}
    if some(0.7):
        a["strides"] = [rng.randint(1, 3) for _ in range(axes)]
    if some(0.4):
        a["dilations"] = [rng.randint(1, 3) for _ in range(axes)]
    if some(0.3):
        a["auto_pad"] = rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
    elif some(0.7):
        limit = pads_below or [4] * axes
        a["pads"] = [rng.randint(0, limit[i % axes] - 1) for i in range(2 * axes)]
    return a


def conv_shapes(axes):
    group = rng.choice([1, 1, 1, 2, 3])
    in_c, out_c = rng.randint(1, 3), rng.randint(1, 3)
    if some(0.2):
        group, in_c = rng.randint(2, 4), 1
    kernel = [rng.randint(1, 4 if axes < 3 else 3) for _ in range(axes)]
    return group, in_c, out_c, kernel


def conv():
    axes = rng.choice([1, 2, 2, 2, 3])
    group, in_c, out_c, kernel = conv_shapes(axes)
    a = window(axes)
    if group > 1 or some(0.2):
        a["group"] = group
    if some():
        a["kernel_shape"] = kernel
    ins = [values([rng.randint(1, 2), group * in_c] + spatial(axes)), values([group * out_c, in_c] + kernel)]
    if some():
        ins.append(values([group * out_c]))
    return rng.choice([7, 11, 22]), a, ins


def conv_transpose():
    axes = rng.choice([1, 2, 2, 2, 3])
    group, in_c, out_c, kernel = conv_shapes(axes)
    a = window(axes, [3] * axes)
    if group > 1:
        a["group"] = group
    if some(0.3):
        stride = a.get("strides", [1] * axes)
        a["output_padding"] = [rng.randint(0, s - 1) for s in stride]
    size = spatial(axes, hi=6)
    if some(0.3) and "auto_pad" not in a:
        a.pop("pads", None)
        s, d = a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
        full = [(size[i] - 1) * s[i] + (kernel[i] - 1) * d[i] + 1 for i in range(axes)]
        a["output_shape"] = [max(1, f - rng.randint(-1, 3)) for f in full]
    ins = [values([rng.randint(1, 2), group * in_c] + size), values([group * in_c, out_c] + kernel)]
    if some():
        ins.append(values([group * out_c]))
    return rng.choice([7, 11, 22]), a, ins


def pool(extra, dtype=np.float32):
    axes = rng.choice([1, 2, 2, 2, 3])
    kernel = [rng.randint(1, 4) for _ in range(axes)]
    a = window(axes, kernel)
    a["kernel_shape"] = kernel
    a.update(extra)
    return a, [values([rng.randint(1, 2), rng.randint(1, 2)] + spatial(axes), dtype)]


def max_pool():
    extra = {}
    if some():
        extra["ceil_mode"] = rng.randint(0, 1)
    if some():
        extra["storage_order"] = rng.randint(0, 1)
    a, ins = pool(extra, rng.choice([np.float32, np.float32, np.float32, np.uint8]))
    return rng.choice([12, 22]), a, ins, rng.randint(1, 2)


def average_pool():
    extra = {}
    if some():
        extra["ceil_mode"] = rng.randint(0, 1)
    if some():
        extra["count_include_pad"] = rng.randint(0, 1)
    a, ins = pool(extra)
    opset = rng.choice([11, 19, 22])
    if opset < 19:
        a.pop("dilations", None)
    return opset, a, ins


def lp_pool():
    a, ins = pool({"p": rng.randint(1, 3)} if some() else {})
    a.pop("dilations", None)
    return rng.choice([11, 18]), a, ins


def global_pool():
    return 11, {}, [values([rng.randint(1, 2), rng.randint(1, 3)] + spatial(rng.randint(1, 3)))]


def resize():
    opset = rng.choice([11, 13, 18, 19])
    mode = rng.choice(["nearest", "linear", "cubic"])
    a = {"mode": mode}
    if some(0.8):
        a["coordinate_transformation_mode"] = rng.choice(
            ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"]
            + (["half_pixel_symmetric"] if opset >= 19 else []))
    if mode == "nearest" and some(0.7):
        a["nearest_mode"] = rng.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    if mode == "cubic" and some():
        a["cubic_coeff_a"] = rng.choice([-0.5, -0.75])
    if mode == "cubic" and some():
        a["exclude_outside"] = 1
    size = [1, rng.randint(1, 2), rng.randint(1, 8), rng.randint(1, 8)]
    if opset >= 18 and mode != "nearest" and some(0.4):
        a["antialias"] = 1
        if a.get("coordinate_transformation_mode") == "tf_crop_and_resize":
            del a["coordinate_transformation_mode"]
    crop = a.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    if crop and some():
        a["extrapolation_value"] = 2.5
    axes = 4
    if opset >= 18 and some(0.3):
        a["axes"] = rng.choice([[2, 3], [3, 2]])
        axes = 2
    roi = np.zeros(0, np.float32)
    if crop:
        lo, hi = [rng.choice([0, 0.25, -0.5]) for _ in range(2)], [rng.choice([1, 0.75, 1.5]) for _ in range(2)]
        roi = np.array([0.0] * (axes - 2) + lo + [1.0] * (axes - 2) + hi, np.float32)
    scales, sizes = None, None
    if some():
        # Where a scale leaves a fraction, ONNX Runtime's align_corners and crops differ from the node tests.
        whole = a.get("coordinate_transformation_mode") in ("align_corners", "tf_crop_and_resize", "half_pixel_symmetric")
        choice = [1, 2, 3] if whole else [0.3, 0.5, 0.6, 0.75, 1, 1.3, 1.5, 2, 2.5, 3]
        scales = np.array([1.0] * (axes - 2) + [rng.choice(choice) for _ in range(2)], np.float32)
    else:
        sizes = np.array(size[:axes - 2] + [rng.randint(1, 12) for _ in range(2)], np.int64)
        if opset >= 18 and some(0.2):
            a["keep_aspect_ratio_policy"] = rng.choice(["not_larger", "not_smaller"])
            if axes == 4:
                a["axes"], sizes = [2, 3], sizes[2:]
                if crop:
                    roi = roi[[2, 3, 6, 7]]
    return opset, a, [values(size), roi, scales, sizes]


def upsample():
    opset = rng.choice([7, 9])
    scales = [1.0, 1.0, rng.choice([1.0, 1.5, 2.0, 3.0]), rng.choice([1.0, 2.0, 2.5])]
    x = values([1, 2, rng.randint(1, 5), rng.randint(1, 5)])
    a = {"mode": rng.choice(["nearest", "linear"])}
    if opset < 9:
        a["scales"] = scales
        return opset, a, [x]
    return opset, a, [x, np.array(scales, np.float32)]


def resize10():
    x = values([1, 2, rng.randint(1, 6), rng.randint(1, 6)])
    scales = [1.0, 1.0, rng.choice([0.4, 0.5, 0.75, 1.0, 1.5, 2.0]), rng.choice([0.6, 1.0, 2.0, 2.5])]
    return 10, {"mode": rng.choice(["nearest", "linear"])}, [x, np.array(scales, np.float32)]


def grid_sample():
    opset = rng.choice([16, 20, 22])
    modes = ["bilinear", "nearest", "bicubic"] if opset < 20 else ["linear", "nearest", "cubic"]
    axes = 3 if opset >= 20 and some(0.3) else 2
    mode = rng.choice(modes[:2] if axes == 3 else modes)
    a = {"mode": mode, "padding_mode": rng.choice(["zeros", "border", "reflection"]), "align_corners": rng.randint(0, 1)}
    x = values([2, 2] + [rng.randint(2, 5) for _ in range(axes)])
    grid = values([2] + [rng.randint(1, 4) for _ in range(axes)] + [axes]) * np.float32(0.4)
    return opset, a, [x, grid.round(3)]


def batch_norm():
    c = rng.randint(1, 4)
    x = values([2, c] + spatial(rng.randint(1, 3), hi=5))
    return rng.choice([9, 14, 15]), {"epsilon": 0.01}, [x, values([c]), values([c]), values([c]), abs(values([c])) + 1]


def instance_norm():
    c = rng.randint(1, 4)
    return 11, {"epsilon": 0.01}, [values([2, c] + spatial(2, lo=2)), values([c]), values([c])]


def layer_norm():
    x = values([2, 3, 4])
    axis = rng.randint(-3, 2)
    shape = x.shape[axis:]
    ins = [x, values(shape)] + ([values(shape)] if some() else [])
    return 17, {"axis": axis, "epsilon": 0.01}, ins


def lrn():
    return 13, {"size": rng.choice([1, 3, 5]), "alpha": 0.5, "beta": 0.5, "bias": 2.0}, [values([2, rng.randint(1, 6), 2, 3])]


def lp_norm():
    return 11, {"p": rng.randint(1, 2), "axis": rng.randint(-3, 2)}, [values([2, 3, 4])]


def gemm():
    m, k, n = [rng.randint(1, 6) for _ in range(3)]
    ta, tb = rng.randint(0, 1), rng.randint(0, 1)
    ins = [values([k, m] if ta else [m, k]), values([n, k] if tb else [k, n])]
    if some(0.7):
        ins.append(values(rng.choice([[m, n], [n], [1, n], [m, 1], [1], []])))
    return 13, {"transA": ta, "transB": tb, "alpha": 0.5, "beta": rng.choice([0.25, 1.0])}, ins


def matmul_shapes():
    m, k, n = [rng.randint(1, 5) for _ in range(3)]
    a, b = rng.choice([
        ([m, k], [k, n]), ([2, m, k], [2, k, n]), ([3, 1, m, k], [2, k, n]), ([m, k], [2, k, n]), ([2, m, k], [k, n]),
        ([k], [k, n]), ([m, k], [k]), ([k], [k]), ([2, m, k], [k]), ([k], [2, k, n])])
    return a, b


def matmul():
    a, b = matmul_shapes()
    return 13, {}, [values(a), values(b)]


def positive():
    return np.float32(rng.randint(1, 40) / 1024)


def quantize():
    to = rng.choice([np.uint8, np.int8])
    shape = [2, 3, 4]
    if some():
        axis = rng.randint(-3, 2)
        n = shape[axis]
        return 13, {"axis": axis}, [values(shape), np.array([positive() for _ in range(n)], np.float32), values([n], to)]
    return 10, {}, [values(shape), np.array(positive()), values([], to)]


def dequantize():
    of = rng.choice([np.uint8, np.int8])
    shape = [2, 3, 4]
    if some():
        axis = rng.randint(-3, 2)
        n = shape[axis]
        return 13, {"axis": axis}, [values(shape, of), np.array([positive() for _ in range(n)], np.float32), values([n], of)]
    return 10, {}, [values(shape, of), np.array(positive()), values([], of)]


def dynamic_quantize():
    x = values([3, 5])
    return 11, {}, [rng.choice([x, abs(x), -abs(x), x * 0])], 3


def conv_integer():
    opset, a, ins = conv()
    while len(ins[0].shape) != 4:
        opset, a, ins = conv()
    x, w = values(ins[0].shape, np.uint8), values(ins[1].shape, rng.choice([np.uint8, np.int8]))
    q = [x, w]
    if some(0.8):
        q.append(values([], np.uint8))
        if some():
            q.append(values([], w.dtype))
    return 10, a, q


def qlinear_conv():
    opset, a, ins = conv()
    while len(ins[0].shape) != 4:
        opset, a, ins = conv()
    kind = rng.choice([np.uint8, np.int8])
    x, w = values(ins[0].shape, kind), values(ins[1].shape, np.int8 if kind == np.int8 or some() else np.uint8)
    m = w.shape[0]
    w_scale = np.array([positive() for _ in range(m)], np.float32) if w.dtype == np.int8 and some() else np.array(positive())
    w_zero = np.zeros(w_scale.shape, w.dtype) if w.dtype == np.int8 else values([], w.dtype)
    q = [x, np.array(positive()), values([], kind), w, w_scale, w_zero, np.array(positive() * 8), values([], kind)]
    if some():
        q.append(np.array([rng.randint(-5000, 5000) for _ in range(m)], np.int32))
    return 10, a, q


def matmul_integer():
    a, b = matmul_shapes()
    a, b = values(a, np.uint8), values(b, rng.choice([np.uint8, np.int8]))
    q = [a, b]
    if some(0.8):
        q.append(values([], np.uint8))
        if some():
            q.append(values([], b.dtype))
    return 10, {}, q


def qlinear_matmul():
    a, b = matmul_shapes()
    a, b = values(a, np.uint8), values(b, np.uint8)
    return 10, {}, [a, np.array(positive()), values([], np.uint8), b, np.array(positive()), values([], np.uint8),
                    np.array(positive() * 8), values([], np.uint8)]


OPERATORS = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MaxPool": max_pool, "AveragePool": average_pool, "LpPool": lp_pool,
    "GlobalMaxPool": global_pool, "GlobalAveragePool": global_pool, "GlobalLpPool": global_pool,
    "Resize": resize, "Resize/10": resize10, "Upsample": upsample, "GridSample": grid_sample,
    "BatchNormalization": batch_norm, "InstanceNormalization": instance_norm, "LayerNormalization": layer_norm,
    "LRN": lrn, "LpNormalization": lp_norm, "Gemm": gemm, "MatMul": matmul,
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize, "DynamicQuantizeLinear": dynamic_quantize,
    "ConvInteger": conv_integer, "QLinearConv": qlinear_conv, "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
}
MORE = {"Conv": 2, "ConvTranspose": 2, "MaxPool": 2, "AveragePool": 2, "Resize": 4}


def answer(op, opset, attrs, ins, outputs):
    names, feeds, inits = [], {}, []
    given = []
    for i, v in enumerate(ins):
        if v is None:
            names.append("")
            continue
        names.append(f"x{i}")
        # Sizes and quantisation parameters as weights: ONNX Runtime wants some of them constant.
        if i > 0:
            inits.append(numpy_helper.from_array(np.asarray(v), f"x{i}"))
        else:
            feeds[f"x{i}"] = v
            given.append(helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(v.dtype), v.shape))
    while names and names[-1] == "":
        names.pop()
    outs = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, outs, **attrs)
    graph = helper.make_graph([node], "g", given, [helper.make_empty_tensor_value_info(o) for o in outs], inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def confirmed(op, opset, attrs, ins, outs):
    """Whether ONNX's own reference gives the same answer, for the operator where runtimes take short cuts."""
    if op != "Resize" or opset < 11:
        return True
    names = ["" if v is None else f"x{i}" for i, v in enumerate(ins)]
    given = {n: v for n, v in zip(names, ins) if n}
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], **attrs)], "g",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given.items()],
        [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        (want,) = ReferenceEvaluator(model).run(None, given)
    except Exception:  # noqa: BLE001
        return False
    return want.shape == outs[0].shape and np.allclose(want, outs[0], rtol=1e-4, atol=1e-4)


def encode(v, digits=9):  # nine are exact
    if v is None:
        return None
    v = np.asarray(v)
    data = v.ravel().tolist()
    if v.dtype.kind == "f":
        data = [float(f"{x:.{digits}g}") if np.isfinite(x) else str(x) for x in data]
        data = [int(x) if not isinstance(x, str) and x == int(x) else x for x in data]
    return {"type": str(v.dtype), "shape": list(v.shape), "data": data}


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    rng.seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    target = sys.argv[3] if len(sys.argv) > 3 else pathlib.Path(__file__).with_name("neural.json.gz")
    cases, refused, doubtful = [], {}, {}
    for name, make in OPERATORS.items():
        op, kept = name.split("/")[0], 0
        for _ in range(count * MORE.get(op, 1) * 4):
            if kept == count * MORE.get(op, 1):
                break
            opset, attrs, ins, *outputs = make()
            outputs = outputs[0] if outputs else 1
            kernel = attrs.get("kernel_shape") or (ins[1].shape[2:] if "Conv" in op and ins[1].ndim > 2 else None)
            if kernel and disputed(op, attrs, ins[0].shape[2:], kernel):
                continue
            try:
                outs = answer(op, opset, attrs, ins, outputs)
            except Exception as e:  # noqa: BLE001
                refused.setdefault(op, []).append((opset, attrs, [None if v is None else v.shape for v in ins], str(e)[:150]))
                continue
            if not confirmed(op, opset, attrs, ins, outs):
                doubtful[op] = doubtful.get(op, 0) + 1
                continue
            if any(o.size > 3000 for o in outs):
                continue
            kept += 1
            cases.append({"op": op, "opset": opset, "attrs": attrs, "in": [encode(v) for v in ins],
                          "out": [encode(v, 6) for v in outs]})
    data = "\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    with open(target, "wb") as f:
        f.write(gzip.compress(data.encode(), 9, mtime=0))
    print(len(cases), "cases,", pathlib.Path(target).stat().st_size, "bytes;",
          "refused:", {k: len(v) for k, v in refused.items()}, "not confirmed:", doubtful)


if __name__ == "__main__":
    main()
