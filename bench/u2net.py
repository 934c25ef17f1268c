"""Writes U²-Net in its full size (44 million parameters) as ONNX, with random weights of a fixed seed.

The published weights are 176 MB and not part of this repository. What a network costs in time and memory does not depend
on what its weights are, so this file stands in for them where the engine is measured.

The layers are those of the paper: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
Pattern Recognition 106 (2020) 107404, figure 5 and table 1, with the batch normalisation folded into the convolutions as
exporters do. The names of its input and of its first output are those of the published export.

Needs python with numpy and onnx.

usage: u2net.py FILE.onnx [--side 320] [--seed 1]
"""

import argparse

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

# Kind, channels in, in the middle and out, of each stage of encoder and decoder.
ENCODER = [(7, 3, 32, 64), (6, 64, 32, 128), (5, 128, 64, 256), (4, 256, 128, 512), ("4F", 512, 256, 512), ("4F", 512, 256, 512)]
DECODER = [("4F", 1024, 256, 512), (4, 1024, 128, 256), (5, 512, 64, 128), (6, 256, 32, 64), (7, 128, 16, 64)]


class Graph:
    """Collects nodes and weights, and knows the channels and the side of every value."""

    def __init__(self, seed):
        self.random = numpy.random.RandomState(seed)
        self.nodes, self.weights, self.shape = [], [], {}

    def value(self, kind, inputs, channels, side, name=None, **attributes):
        name = name or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        self.shape[name] = (channels, side)
        return name

    def constant(self, name, array):
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x, channels, dilation=1, kernel=3):
        source, side = self.shape[x]
        scale = (2.0 / (source * kernel * kernel)) ** 0.5 * 0.8  # keeps sums of skip connections within bounds
        weight = self.random.standard_normal((channels, source, kernel, kernel)).astype(numpy.float32) * numpy.float32(scale)
        bias = self.random.standard_normal(channels).astype(numpy.float32) * numpy.float32(0.05)
        number, pad = len(self.nodes), dilation * (kernel // 2)
        return self.value(
            "Conv", [x, self.constant(f"w{number}", weight), self.constant(f"b{number}", bias)], channels, side,
            kernel_shape=[kernel, kernel], pads=[pad] * 4, strides=[1, 1], dilations=[dilation] * 2,
        )

    def rebnconv(self, x, channels, dilation=1):
        y = self.conv(x, channels, dilation)
        return self.value("Relu", [y], *self.shape[y])

    def pool(self, x):
        channels, side = self.shape[x]
        return self.value("MaxPool", [x], channels, -(-side // 2), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)

    def resize(self, x, side):
        channels, old = self.shape[x]
        if old == side:
            return x
        sizes = self.constant(f"s{len(self.nodes)}", numpy.array([1, channels, side, side], numpy.int64))
        return self.value("Resize", [x, "", "", sizes], channels, side, mode="linear", coordinate_transformation_mode="half_pixel")

    def concat(self, *values):
        return self.value("Concat", list(values), sum(self.shape[v][0] for v in values), self.shape[values[0]][1], axis=1)

    def add(self, a, b):
        return self.value("Add", [a, b], *self.shape[a])

    def rsu(self, x, depth, middle, out):
        """A residual U-block: an encoder and decoder of its own, around which its input is added."""
        first = self.rebnconv(x, out)
        down, y = [self.rebnconv(first, middle)], None
        for _ in range(depth - 2):
            down.append(self.rebnconv(self.pool(down[-1]), middle))
        y = self.rebnconv(down[-1], middle, dilation=2)
        for level in range(depth - 2, -1, -1):
            y = self.rebnconv(self.concat(y, down[level]), middle if level else out)
            if level:
                y = self.resize(y, self.shape[down[level - 1]][1])
        return self.add(y, first)

    def rsu4f(self, x, middle, out):
        """A residual U-block for small pictures: dilated instead of made smaller."""
        first = self.rebnconv(x, out)
        a = self.rebnconv(first, middle)
        b = self.rebnconv(a, middle, 2)
        c = self.rebnconv(b, middle, 4)
        y = self.rebnconv(c, middle, 8)
        y = self.rebnconv(self.concat(y, c), middle, 4)
        y = self.rebnconv(self.concat(y, b), middle, 2)
        return self.add(self.rebnconv(self.concat(y, a), out), first)

    def stage(self, x, kind, source, middle, out):
        assert self.shape[x][0] == source, (kind, self.shape[x], source)
        return self.rsu4f(x, middle, out) if kind == "4F" else self.rsu(x, kind, middle, out)


def build(side, seed):
    g = Graph(seed)
    g.shape["input.1"] = (3, side)
    x, skips = "input.1", []
    for n, row in enumerate(ENCODER):
        x = g.stage(g.pool(x) if n else x, *row)
        skips.append(x)
    sides = [skips[-1]]
    for n, row in enumerate(DECODER):
        skip = skips[4 - n]
        x = g.stage(g.concat(g.resize(x, g.shape[skip][1]), skip), *row)
        sides.append(x)
    maps = [g.resize(g.conv(s, 1), side) for s in reversed(sides)]
    fused = g.conv(g.concat(*maps), 1, kernel=1)
    outputs = [g.value("Sigmoid", [m], 1, side, name=str(1959 + n)) for n, m in enumerate([fused, *maps])]

    def info(name):
        channels, size = g.shape[name]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, size, size])

    graph = helper.make_graph(g.nodes, "u2net", [info("input.1")], [info(o) for o in outputs], g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="u2net.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    model = build(args.side, args.seed)
    onnx.checker.check_model(model)
    onnx.save(model, args.file)
    parameters = sum(int(numpy.prod(w.dims)) for w in model.graph.initializer)
    print(f"{args.file}: {parameters / 1e6:.1f} million parameters")


if __name__ == "__main__":
    main()
