"""Makes selfie_segmentation.onnx of MediaPipe's selfie_segmentation.tflite.

    npm pack @mediapipe/selfie_segmentation@0.1.1675465747 && tar xzf mediapipe-selfie_segmentation-*.tgz
    pip install tflite==2.18.0 onnx==1.23.2 numpy
    python convert_selfie.py package/selfie_segmentation.tflite selfie_segmentation.onnx

Weights are stored as float16 there and as float32 here, without loss; layouts go from NHWC to NCHW. The bytes that come
out depend on nothing but the input and the version of onnx.
"""

import hashlib
import sys

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

SOURCE_SHA256 = "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27"

NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}


class Converter:
    def __init__(self, data):
        self.model = tflite.Model.GetRootAsModel(data, 0)
        self.graph = self.model.Subgraphs(0)
        self.nodes, self.weights, self.constant = [], [], {}

    def shape(self, index):
        return [int(n) for n in self.graph.Tensors(index).ShapeAsNumpy()]

    def stored(self, index):
        """The values of a constant tensor, None where it is computed."""
        tensor = self.graph.Tensors(index)
        raw = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(raw, int):
            return None
        kind = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16, tflite.TensorType.INT32: np.int32}
        return raw.tobytes(), kind[tensor.Type()], self.shape(index)

    def values(self, index):
        if index in self.constant:
            return self.constant[index]
        found = self.stored(index)
        if found is None:
            return None
        raw, kind, shape = found
        return np.frombuffer(raw, kind).reshape(shape)

    def weight(self, array, name):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def emit(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))

    def activated(self, output, kind):
        """Where a layer is to write, so that its fused activation follows."""
        if kind == tflite.ActivationFunctionType.NONE:
            return output
        if kind != tflite.ActivationFunctionType.RELU:
            raise ValueError(f"activation {kind} is not known")
        self.emit("Relu", [output + "_linear"], output)
        return output + "_linear"

    def settle(self, output, kind, emit):
        """Emits a layer, then its activation, in the order that ONNX wants."""
        before = len(self.nodes)
        target = self.activated(output, kind)
        tail = self.nodes[before:]
        del self.nodes[before:]
        emit(target)
        self.nodes += tail

    def pads(self, padding, size, kernel, stride):
        if padding == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        begin, end = [], []
        for n, k, s in zip(size, kernel, stride):
            total = max((-(-n // s) - 1) * s + k - n, 0)
            begin.append(total // 2)
            end.append(total - total // 2)
        return begin + end

    def name(self, index):
        return f"t{index}"

    def options(self, op, kind):
        table = op.BuiltinOptions()
        out = kind()
        out.Init(table.Bytes, table.Pos)
        return out

    def operator(self, op):
        code = self.model.OperatorCodes(op.OpcodeIndex())
        kind = NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        ins, out = [int(i) for i in op.InputsAsNumpy()], int(op.OutputsAsNumpy()[0])
        x, y = self.name(ins[0]), self.name(out)
        if kind == "DEQUANTIZE":
            self.constant[out] = self.values(ins[0]).astype(np.float32)
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            depthwise = kind != "CONV_2D"
            o = self.options(op, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
            if (o.DilationHFactor(), o.DilationWFactor()) != (1, 1):
                raise ValueError("dilation is not known")
            w = self.values(ins[1])
            w = w.transpose(3, 0, 1, 2) if depthwise else w.transpose(0, 3, 1, 2)
            kernel, stride = list(w.shape[2:]), [o.StrideH(), o.StrideW()]
            inputs = [x, self.weight(w, y + "_w"), self.weight(self.values(ins[2]), y + "_b")]
            self.settle(y, o.FusedActivationFunction(), lambda to: self.emit(
                "Conv", inputs, to, kernel_shape=kernel, strides=stride, group=w.shape[0] if depthwise else 1,
                pads=self.pads(o.Padding(), self.shape(ins[0])[1:3], kernel, stride)))
        elif kind in ("ADD", "MUL"):
            o = self.options(op, tflite.AddOptions if kind == "ADD" else tflite.MulOptions)
            if any(self.values(i) is not None for i in ins):
                raise ValueError(f"{kind} of a constant is not known")
            names = [self.name(i) for i in ins]
            self.settle(y, o.FusedActivationFunction(), lambda to: self.emit(kind.capitalize(), names, to))
        elif kind == "RELU":
            self.emit("Relu", [x], y)
        elif kind == "LOGISTIC":
            self.emit("Sigmoid", [x], y)
        elif kind == "HARD_SWISH":
            three, sixth = self.weight(np.float32(3), y + "_3"), self.weight(np.float32(1 / 6), y + "_6")
            low, high = self.weight(np.float32(0), y + "_lo"), self.weight(np.float32(6), y + "_hi")
            self.emit("Add", [x, three], y + "_shifted")
            self.emit("Clip", [y + "_shifted", low, high], y + "_gate")
            self.emit("Mul", [x, y + "_gate"], y + "_scaled")
            self.emit("Mul", [y + "_scaled", sixth], y)
        elif kind == "AVERAGE_POOL_2D":
            o = self.options(op, tflite.Pool2DOptions)
            kernel, stride = [o.FilterHeight(), o.FilterWidth()], [o.StrideH(), o.StrideW()]
            self.settle(y, o.FusedActivationFunction(), lambda to: self.emit(
                "AveragePool", [x], to, kernel_shape=kernel, strides=stride,
                pads=self.pads(o.Padding(), self.shape(ins[0])[1:3], kernel, stride)))
        elif kind == "RESIZE_BILINEAR":
            o = self.options(op, tflite.ResizeBilinearOptions)
            mode = "align_corners" if o.AlignCorners() else "half_pixel" if o.HalfPixelCenters() else "asymmetric"
            before, after = self.shape(ins[0]), self.shape(out)
            scales = self.weight(np.array([1, 1, after[1] / before[1], after[2] / before[2]], np.float32), y + "_scales")
            self.emit("Resize", [x, "", scales], y, mode="linear", coordinate_transformation_mode=mode)
        elif kind == "CUSTOM" and code.CustomCode() == b"Convolution2DTransposeBias":
            # Three int32: padding as TfLitePadding (1 is SAME), then the strides.
            padding, stride_w, stride_h = np.frombuffer(op.CustomOptionsAsNumpy().tobytes(), np.int32)[:3]
            w = self.values(ins[1])  # output channels, height, width, input channels
            kernel, stride = list(w.shape[1:3]), [int(stride_h), int(stride_w)]
            if kernel != stride or padding not in (1, 2):
                raise ValueError("a transposed convolution whose windows overlap is not known")
            self.emit("ConvTranspose", [x, self.weight(w.transpose(3, 0, 1, 2), y + "_w"), self.weight(self.values(ins[2]), y + "_b")],
                      y, kernel_shape=kernel, strides=stride)
        else:
            raise ValueError(f"{kind} is not known")

    def convert(self):
        for i in range(self.graph.OperatorsLength()):
            self.operator(self.graph.Operators(i))

        def plane(index, name):
            n, h, w, c = self.shape(index)
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [n, c, h, w])

        first, last = self.graph.Inputs(0), self.graph.Outputs(0)
        for node in self.nodes:
            node.input[:] = ["image" if i == self.name(first) else i for i in node.input]
            node.output[:] = ["mask" if o == self.name(last) else o for o in node.output]
        graph = helper.make_graph(self.nodes, "selfie_segmentation", [plane(first, "image")], [plane(last, "mask")], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="convert_selfie.py", ir_version=7)
        onnx.checker.check_model(model, full_check=True)
        return model


def main():
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    if hashlib.sha256(data).hexdigest() != SOURCE_SHA256:
        sys.exit(f"{sys.argv[1]} is not the file this was written for")
    out = Converter(data).convert().SerializeToString(deterministic=True)
    with open(sys.argv[2], "wb") as f:
        f.write(out)
    print(len(out), hashlib.sha256(out).hexdigest())


if __name__ == "__main__":
    main()
