#!/usr/bin/env python3
"""Writes the small models that the tests of the decoder read, beside itself.

Needs onnx and numpy:  python3 make_models.py
The tests know the values by the rules below; nothing else is recorded about a model.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h

HERE = pathlib.Path(__file__).parent

# Element types the engine holds or widens. Element i of a tensor is VALUES[i], as far as the type can hold it.
VALUES = [0, 1, 2, 100, -1, -100]
TYPES = ["FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "BOOL", "FLOAT16", "DOUBLE", "UINT32", "UINT64",
         "BFLOAT16"]


def values(name):
    if name == "BOOL":
        return [0, 1, 1, 1, 1, 1]
    if name.startswith("UINT"):
        return [abs(v) for v in VALUES]
    return VALUES


def typed(name, label):
    """The elements in the typed field of the message."""
    return h.make_tensor(label, getattr(T, name), [2, 3], values(name))


def raw(name, label):
    """The elements as raw bytes."""
    if name == "BFLOAT16":
        bits = np.array(values(name), np.float32).view(np.uint32) >> 16
        data = bits.astype("<u2").tobytes()
    else:
        data = np.array(values(name)).astype(h.tensor_dtype_to_np_dtype(getattr(T, name))).tobytes()
    return h.make_tensor(label, getattr(T, name), [2, 3], data, raw=True)


def model(name, nodes, inputs, outputs, init=(), opset=13, domains=(), **kw):
    g = h.make_graph(nodes, name, inputs, outputs, list(init))
    opsets = [h.make_opsetid("", opset)] + [h.make_opsetid(d, v) for d, v in domains]
    m = h.make_model(g, opset_imports=opsets, producer_name="make_models", producer_version="1", ir_version=8, **kw)
    (HERE / f"{name}.onnx").write_bytes(m.SerializeToString(deterministic=True))


def vi(name, shape=(1,), dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


x, y = vi("x"), vi("y")

# Every type, typed and raw, as initializer and as attribute.
init, nodes = [], []
for t in TYPES:
    init += [typed(t, f"typed_{t}"), raw(t, f"raw_{t}")]
    nodes += [
        h.make_node("Constant", [], [f"attr_typed_{t}"], value=typed(t, "v")),
        h.make_node("Constant", [], [f"attr_raw_{t}"], value=raw(t, "v")),
    ]
nodes.append(h.make_node("Identity", ["x"], ["y"], name="last"))
model("types", nodes, [x], [y], init)

# A constant in each form, and tensors without elements and without dimensions.
model("constants", [
    h.make_node("Constant", [], ["float"], value_float=1.5),
    h.make_node("Constant", [], ["floats"], value_floats=[1.5, -2.0]),
    h.make_node("Constant", [], ["int"], value_int=-7),
    h.make_node("Constant", [], ["ints"], value_ints=[1, -2, 3]),
    h.make_node("Constant", [], ["scalar"], value=h.make_tensor("", T.FLOAT, [], [4.0])),
    h.make_node("Constant", [], ["nothing"], value=h.make_tensor("", T.INT64, [0], [])),
    h.make_node("Identity", ["x"], ["y"]),
], [x], [y], [h.make_tensor("none", T.FLOAT, [0, 3], [])])

# Omitted inputs and outputs, one value read twice, nodes without inputs, nodes out of order.
model("wiring", [
    h.make_node("Add", ["twice", "a"], ["y"], name="end"),
    h.make_node("Mul", ["x", "x"], ["twice"], name="square"),
    h.make_node("Concat", ["x", "r", "x", "x"], ["joined"], name="join", axis=0),
    h.make_node("Resize", ["joined", "roi", "", "sizes"], ["r2"], name="resize2", mode="nearest"),
    h.make_node("Resize", ["x", "roi", "scales", "empty"], ["r"], name="resize", mode="linear"),
    h.make_node("Constant", [], ["empty"], name="c", value=h.make_tensor("", T.INT64, [0], [])),
    h.make_node("Clip", ["x", "", "high"], ["a"], name="clip"),
    h.make_node("MaxPool", ["x"], ["pooled", ""], name="pool", kernel_shape=[1]),
    h.make_node("Split", ["x"], ["", "s1", "", "s3"], name="split"),
    h.make_node("Split", ["x", "sizes"], ["", "t1"], name="split2"),
    h.make_node("Concat", ["empty", "sizes"], ["kept"], name="keep", axis=0),
    h.make_node("RandomUniform", [], ["/input"], shape=[1]),
    h.make_node("RandomUniform", [], ["random", "second"], shape=[1], dtype=T.FLOAT16),
    h.make_node("Identity", ["/input"], ["z"]),
], [x], [y, vi("z"), x, vi("high", ())], [
    h.make_tensor("roi", T.FLOAT, [0], []),
    h.make_tensor("scales", T.FLOAT, [1], [2.0]),
    h.make_tensor("sizes", T.INT64, [1], [4]),
    h.make_tensor("high", T.FLOAT, [], [6.0]),
])

# Attributes of every kind, other domains, half floats by number.
model("attributes", [
    h.make_node("Custom", ["x"], ["u"], name="custom", domain="com.example", f=0.5, i=-3, s="text",
                fs=[1.0, -2.5], ns=[1, -2, 1 << 40], ss=["a", "", "c"], t=h.make_tensor("", T.INT8, [2], [-1, 1])),
    h.make_node("Cast", ["x"], ["c16"], name="to16", to=T.FLOAT16),
    h.make_node("Cast", ["c16"], ["b16"], name="tob16", to=T.BFLOAT16),
    h.make_node("Cast", ["b16"], ["i8"], name="toi8", to=T.INT8),
    h.make_node("Identity", ["u"], ["y"], domain="ai.onnx"),
], [vi("x", ("batch", 3, None, 7), T.FLOAT16), h.make_tensor_value_info("unranked", T.UINT8, None), vi("scalar", (), T.BOOL)],
    [vi("y", ("batch",), T.BFLOAT16)], [], opset=17, domains=[("com.example", 2)])

# What is refused.
then = h.make_graph([h.make_node("Constant", [], ["t"], value_float=1.0)], "then", [], [vi("t")])
model("subgraph", [h.make_node("If", ["x"], ["y"], name="branch", then_branch=then, else_branch=then)],
      [vi("x", (), T.BOOL)], [y], opset=11)

w = h.make_tensor("w", T.FLOAT, [1], [1.0])
w.ClearField("float_data")
w.data_location = T.EXTERNAL
w.external_data.add(key="location", value="weights.bin")
model("external", [h.make_node("Add", ["x", "w"], ["y"])], [x], [y], [w])

twice = h.make_function("local", "Twice", ["a"], ["b"], [h.make_node("Add", ["a", "a"], ["b"])],
                        [h.make_opsetid("", 13)])
model("function", [h.make_node("Twice", ["x"], ["y"], name="call", domain="local")], [x], [y],
      domains=[("local", 1)], functions=[twice])

sparse = h.make_sparse_tensor(h.make_tensor("w", T.FLOAT, [1], [1.0]), h.make_tensor("i", T.INT64, [1], [0]), [4])
g = h.make_graph([h.make_node("Add", ["x", "w"], ["y"])], "sparse", [x], [y], sparse_initializer=[sparse])
(HERE / "sparse.onnx").write_bytes(h.make_model(g, ir_version=8).SerializeToString(deterministic=True))

model("strings", [h.make_node("Identity", ["x"], ["y"])], [x], [y], [h.make_tensor("w", T.STRING, [1], [b"a"])])
seq = h.make_tensor_sequence_value_info("x", T.FLOAT, None)
model("sequence", [h.make_node("ConcatFromSequence", ["x"], ["y"], axis=0)], [seq], [y])

# What the commands run: y = 2x + 1 and z = x² over symbolic dimensions; d = a - b.
model("affine", [
    h.make_node("Mul", ["x", "two"], ["doubled"]), h.make_node("Add", ["doubled", "one"], ["y"]),
    h.make_node("Mul", ["x", "x"], ["z"]),
], [vi("x", ("rows", "columns"))], [vi("y", ("rows", "columns")), vi("z", ("rows", "columns"))],
    [h.make_tensor("two", T.FLOAT, [], [2.0]), h.make_tensor("one", T.FLOAT, [1], [1.0])])
model("pair", [h.make_node("Sub", ["a", "b=c"], ["d"])], [vi("a", (2,), T.INT64), vi("b=c", (2,), T.INT64)],
      [vi("d", (2,), T.INT64)])
