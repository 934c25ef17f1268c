"""Makes testdata/opsets.zip: one directory a case, laid out like the ONNX node tests, for opsets older than the ones
those tests use. ONNX Runtime computes the expected outputs. Needs numpy, onnx and onnxruntime."""
import os
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

here = os.path.dirname(os.path.abspath(__file__))
random = np.random.default_rng(7)


def f(*shape):
    return (random.random(shape) * 4 - 2).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


# operator, opset, inputs, attributes, number of outputs; None is an omitted input
cases = []


def case(op, opset, inputs, outputs=1, **attributes):
    cases.append((op, opset, inputs, outputs, attributes))


def as_opset_7(op, inputs, attributes):
    """Says in terms of opset 7 what opset 6 said with the attributes broadcast, axis and is_test, or with a list of
    slopes, which ONNX Runtime does not run."""
    attributes = dict(attributes)
    if op == "PRelu":
        return [inputs[0], inputs[1].reshape(-1, 1, 1)], attributes
    attributes.pop("is_test", None)
    attributes.pop("broadcast", None)
    axis = attributes.pop("axis", None)
    if axis is not None:
        x, y = inputs
        inputs = [x, y.reshape(y.shape + (1,) * (x.ndim - axis - y.ndim))]
    return inputs, attributes


def build(op, opset, inputs, outputs, attributes):
    names = ["" if x is None else f"x{k}" for k, x in enumerate(inputs)]
    values = {n: np.asarray(x) for n, x in zip(names, inputs) if x is not None}
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in values.items()]
    results = [f"y{k}" for k in range(outputs)]
    graph = helper.make_graph([helper.make_node(op, names, results, **attributes)], "case", infos,
                              [helper.make_empty_tensor_value_info(r) for r in results])
    if opset < 9 or op in ("Upsample", "Resize"):
        # Operators that want constants; until opset 9 those had to be inputs as well.
        graph.initializer.extend(numpy_helper.from_array(x, n) for n, x in list(values.items())[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4), values


def run(model, values):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {x.name: values[x.name] for x in session.get_inputs()})


for op in ("Add", "Sub", "Mul", "Div", "Pow"):
    x, y = np.abs(f(2, 3, 4, 5)) + 0.5, np.abs(f(3, 4)) + 0.5
    case(op, 6, [x, y], broadcast=1, axis=1)
    case(op, 6, [x, np.abs(f(4, 5)) + 0.5], broadcast=1)
    case(op, 7, [x, np.abs(f(4, 1)) + 0.5])
for op in ("And", "Or", "Xor"):
    case(op, 6, [f(2, 3, 4) > 0, f(3) > 0], broadcast=1, axis=1)
for op in ("Greater", "Less"):
    case(op, 6, [f(2, 3, 4), f(3)], broadcast=1, axis=1)
    case(op, 8, [f(2, 3, 4), f(3, 1)])
case("Equal", 6, [random.integers(0, 2, (2, 3, 4)), random.integers(0, 2, 3)], broadcast=1, axis=1)
for opset in (6, 8, 12):
    case("Max", opset, [f(2, 3), f(2, 3), f(2, 3)])
    case("Sum", opset, [f(2, 3), f(2, 3), f(2, 3)])
    case("Mean", opset, [f(2, 3), f(2, 3)])
for opset in (6, 10):
    case("Clip", opset, [f(3, 4)], min=-0.5, max=0.7)
    case("Clip", opset, [f(3, 4)], max=0.7)
    case("Clip", opset, [f(3, 4)])
case("Clip", 11, [f(3, 4), np.float32(-0.5), None])
case("Clip", 12, [f(3, 4), None, np.float32(0.5)])
case("PRelu", 6, [f(1, 3, 2, 2), f(3)])
case("PRelu", 7, [f(1, 3, 2, 2), f(3, 1, 1)])
case("PRelu", 9, [f(1, 3, 2, 2), f(1)])
for opset in (6, 9, 12):
    for op in ("Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Floor", "Softplus", "Elu", "Selu", "LeakyRelu", "HardSigmoid"):
        case(op, opset, [f(2, 3, 4)])
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        case(op, opset, [f(2, 3, 4)])
        case(op, opset, [f(2, 3, 4)], axis=2)
        case(op, opset, [f(2, 3, 4)], axis=0)
case("Cast", 6, [f(2, 3) * 10], to=TensorProto.INT32)
case("Cast", 9, [f(2, 3) > 0], to=TensorProto.FLOAT)
case("Cast", 9, [np.array([-1.5, 300.7, 255.5, 2.5, -0.5], np.float32)], to=TensorProto.UINT8)
case("Cast", 13, [np.array([3e9, -3e9, 1e20, np.nan, 2.5], np.float32)], to=TensorProto.INT32)
case("Reshape", 5, [f(2, 3, 4), i(0, -1)])
case("Reshape", 12, [f(2, 3, 4), i(4, -1, 2)])
case("Flatten", 7, [f(2, 3, 4)], axis=2)
case("Flatten", 11, [f(2, 3, 4)], axis=-1)
for opset in (6, 11, 12):
    case("Squeeze", opset, [f(1, 3, 1, 2)], axes=[0, 2])
    case("Squeeze", opset, [f(1, 3, 1, 2)])
    case("Unsqueeze", opset, [f(3, 2)], axes=[0, 3])
case("Unsqueeze", 11, [f(3, 2)], axes=[-1])
for opset in (6, 9):
    case("Slice", opset, [f(4, 5, 6)], starts=[1, -3], ends=[3, 1000], axes=[0, 2])
    case("Slice", opset, [f(4, 5)], starts=[1, 0], ends=[-1, 2])
for opset in (10, 11, 13):
    case("Slice", opset, [f(4, 5, 6), i(-1, 4), i(-1000, 0), i(1, 2), i(-2, -1)])
    case("Slice", opset, [f(4, 5), i(1), i(3)])
    case("Slice", opset, [f(4, 5), i(3), i(2)])
    case("Slice", opset, [f(4, 5), i(0), i(2**63 - 1), i(1), i(2)])
for opset in (2, 11):
    case("Split", opset, [f(6, 4)], 3, axis=0)
    case("Split", opset, [f(6, 4)], 2, axis=0, split=[2, 4])
case("Split", 13, [f(6, 4), i(1, 3)], 2, axis=1)
case("Split", 13, [f(6, 4)], 2, axis=1)
case("Split", 18, [f(7, 4)], 3, num_outputs=3)
for opset in (2, 10):
    case("Pad", opset, [f(2, 3)], pads=[1, 0, 0, 2], value=1.5)
    case("Pad", opset, [f(1, 1, 4, 5)], mode="reflect", pads=[0, 0, 1, 2, 0, 0, 3, 1])
    case("Pad", opset, [f(1, 1, 4, 5)], mode="edge", pads=[0, 0, 1, 2, 0, 0, 3, 1])
    case("Pad", opset, [f(4, 5)], pads=[-1, 1, 0, -2])
for opset in (11, 13):
    case("Pad", opset, [f(2, 3), i(1, 0, 0, 2), np.float32(2.5)])
    case("Pad", opset, [f(2, 3), i(1, 1, 0, 2)], mode="edge")
case("Pad", 18, [f(2, 3, 4), i(1, 2), np.float32(2.5), i(-1)])
case("Concat", 4, [f(2, 3), f(2, 2)], axis=1)
case("Concat", 11, [f(2, 3), f(2, 2)], axis=-1)
case("Gather", 6, [f(4, 3), np.array([[0, 3], [1, 1]])], axis=0)
case("Gather", 11, [f(4, 3), np.array([-1, 0])], axis=1)
case("Scatter", 9, [f(3, 3), np.array([[1, 0, 2]]), f(1, 3)], axis=0)
case("ScatterElements", 11, [f(3, 3), np.array([[1], [-1], [0]]), f(3, 1)], axis=1)
case("ScatterND", 11, [f(4, 4), np.array([[1], [3]]), f(2, 4)])
case("Tile", 6, [f(2, 3), i(2, 3)])
case("Expand", 8, [f(3, 1), i(2, 1, 4)])
case("TopK", 9, [f(3, 5)], 2, k=2)
case("TopK", 10, [f(3, 5), i(3)], 2, axis=0)
case("TopK", 11, [f(3, 5), i(3)], 2, largest=0)
case("OneHot", 9, [i(0, 2, 5), np.array(4, np.int64), np.array([0, 1], np.float32)])
case("Dropout", 6, [f(2, 3)], is_test=1)
case("Dropout", 7, [f(2, 3)], ratio=0.3)
case("Dropout", 10, [f(2, 3)], ratio=0.3)
case("ConstantOfShape", 9, [i(2, 3)])
case("Shape", 1, [f(2, 3, 4)])
case("Size", 1, [f(2, 3, 4)])
case("Transpose", 1, [f(2, 3, 4)], perm=[2, 0, 1])
case("Transpose", 1, [f(2, 3, 4)])
case("DepthToSpace", 1, [f(1, 8, 2, 3)], blocksize=2)
case("DepthToSpace", 11, [f(1, 8, 2, 3)], blocksize=2, mode="CRD")
case("SpaceToDepth", 1, [f(1, 2, 4, 6)], blocksize=2)
case("Where", 9, [f(2, 3) > 0, f(3), f(2, 1)])
case("IsInf", 10, [np.array([1, np.inf, -np.inf, np.nan], np.float32)], detect_negative=0)
case("CumSum", 11, [f(2, 3), np.array(1, np.int32)], exclusive=1, reverse=1)
case("Mod", 10, [np.array([-4, 7, 5, 4, -7, 8]), np.array([2, -3, 8, -2, 3, 5])])
case("Range", 11, [np.float32(1), np.float32(9.5), np.float32(2)])
case("NonZero", 9, [f(3, 4) * (f(3, 4) > 0)])
for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"):
    for opset in (6, 11, 12):
        case(op, opset, [np.abs(f(3, 2, 4)) + 0.1], axes=[1], keepdims=0)
        case(op, opset, [np.abs(f(3, 2, 4)) + 0.1], axes=[0, 2])
        case(op, opset, [np.abs(f(3, 2, 4)) + 0.1])
    if op != "ReduceSum":
        case(op, 13, [np.abs(f(3, 2, 4)) + 0.1], axes=[-1])
for op in ("ArgMax", "ArgMin"):
    case(op, 7, [f(3, 4)], axis=1, keepdims=0)
    case(op, 11, [f(3, 4)], axis=-1)
    case(op, 12, [np.array([[1, 3, 3], [2, 2, 1]], np.float32)], axis=1, select_last_index=1)
case("BatchNormalization", 7, [f(2, 3, 4, 4), f(3), f(3), f(3), np.abs(f(3))])
case("BatchNormalization", 9, [f(2, 3, 4, 4), f(3), f(3), f(3), np.abs(f(3))], epsilon=1e-3)
case("InstanceNormalization", 6, [f(2, 3, 4, 4), f(3), f(3)])
case("Conv", 1, [f(1, 2, 5, 6), f(4, 2, 3, 3), f(4)], pads=[1, 1, 1, 1], strides=[2, 1])
case("Conv", 1, [f(1, 2, 5, 6), f(4, 2, 3, 3)], auto_pad="SAME_UPPER", strides=[2, 2])
case("ConvTranspose", 1, [f(1, 2, 3, 4), f(2, 3, 3, 3), f(3)], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
case("MaxPool", 1, [f(1, 2, 5, 6)], kernel_shape=[2, 2], strides=[2, 2])
case("MaxPool", 8, [f(1, 2, 5, 6)], 2, kernel_shape=[2, 2], strides=[2, 2])
case("MaxPool", 10, [f(1, 2, 5, 6)], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
case("AveragePool", 1, [f(1, 2, 5, 6)], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
case("AveragePool", 7, [f(1, 2, 5, 6)], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
case("AveragePool", 10, [f(1, 2, 5, 6)], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
case("GlobalAveragePool", 1, [f(1, 2, 5, 6)])
case("Gemm", 6, [f(2, 3), f(4, 3), f(4)], transB=1, broadcast=1)
case("Gemm", 7, [f(2, 3), f(3, 4), f(4)], alpha=0.5, beta=2.0)
case("MatMul", 1, [f(2, 2, 3), f(2, 3, 4)])
case("Upsample", 7, [f(1, 2, 3, 4)], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])
case("Upsample", 8, [f(1, 2, 3, 4)], mode="linear", scales=[1.0, 1.0, 2.0, 2.0])
case("Upsample", 9, [f(1, 2, 3, 4), np.array([1, 1, 2, 3], np.float32)], mode="nearest")
case("Resize", 10, [f(1, 2, 3, 4), np.array([1, 1, 2, 3], np.float32)], mode="nearest")
case("Resize", 10, [f(1, 2, 4, 6), np.array([1, 1, 1.5, 0.5], np.float32)], mode="linear")
for mode in ("nearest", "linear", "cubic"):
    for transform in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        for opset in (11, 13):
            none = np.array([], np.float32) if opset == 11 else None
            case("Resize", opset, [f(1, 2, 4, 5), none, none, i(1, 2, 7, 3)],
                 mode=mode, coordinate_transformation_mode=transform)

counts = {}
with zipfile.ZipFile(os.path.join(here, "opsets.zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    def add(name, data):
        archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 9)

    for op, opset, inputs, outputs, attributes in cases:
        key = f"{op}_{opset}".lower()
        counts[key] = counts.get(key, 0) + 1
        name = f"{key}_{counts[key]}"
        model, values = build(op, opset, inputs, outputs, attributes)
        try:
            if opset < 7 and ("broadcast" in attributes or op in ("AveragePool", "PRelu", "Dropout", "Gemm")):
                newer, changed = as_opset_7(op, inputs, attributes)
                got = run(*build(op, 7, newer, outputs, changed))
            else:
                got = run(model, values)
        except Exception as e:
            sys.exit(f"{name}: {str(e).splitlines()[0]}")
        del model.graph.output[:]
        model.graph.output.extend(helper.make_tensor_value_info(f"y{k}", helper.np_dtype_to_tensor_dtype(y.dtype), y.shape)
                                  for k, y in enumerate(got))
        add(f"{name}/model.onnx", model.SerializeToString())
        for k, (n, x) in enumerate(values.items()):
            add(f"{name}/test_data_set_0/input_{k}.pb", numpy_helper.from_array(x, n).SerializeToString())
        for k, y in enumerate(got):
            add(f"{name}/test_data_set_0/output_{k}.pb", numpy_helper.from_array(np.asarray(y), f"y{k}").SerializeToString())
print(sum(counts.values()), "cases")
