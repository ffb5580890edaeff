"""Cases of layers with windows, weights and norms."""
# ruff: noqa: B023, C901, PLR0912
# fmt: off

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from case_network import F32, Case, T, network, node


def cases() -> Iterator[Case]:
    """Yields every case of this file."""
    for part in (resizes, poolings, pads, convolutions, normalizations, softmaxes):
        yield from part()


def resizes() -> Iterator[Case]:
    s = {"s": np.array([1, 1, 2, 2], F32)}
    ways = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize")
    rounds = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    roi = {"r": np.array([0, 0, 0, 0, 1, 1, 1, 1], F32)}
    for opset in (11, 13, 18, 19):
        for mode, way in itertools.product(("nearest", "linear", "cubic"), ways):
            if (way == "half_pixel_symmetric" and opset < 19) or (way == "tf_half_pixel_for_nn" and opset > 11):
                continue
            if mode == "nearest":
                for rounding in rounds:
                    yield f"Resize {opset} {mode} {way} {rounding}", network(node("Resize", ["image", "r", "s"], ["out"], mode=mode, coordinate_transformation_mode=way, nearest_mode=rounding), {**s, **roi}, opset=opset)
            else:
                yield f"Resize {opset} {mode} {way}", network(node("Resize", ["image", "r", "s"], ["out"], mode=mode, coordinate_transformation_mode=way), {**s, **roi}, opset=opset)
    for antialias, mode in itertools.product((0, 1), ("nearest", "linear", "cubic")):
        for factor in (0.5, 2.0):
            yield f"Resize antialias={antialias} {mode} x{factor}", network(node("Resize", ["image", "", "s"], ["out"], mode=mode, antialias=antialias), {"s": np.array([1, 1, factor, factor], F32)})
    for policy in ("stretch", "not_larger", "not_smaller"):
        yield f"Resize policy {policy}", network(node("Resize", ["image", "", "", "z"], ["out"], mode="linear", keep_aspect_ratio_policy=policy), {"z": np.array([1, 3, 16, 12], np.int64)})
        yield f"Resize policy {policy} scales", network(node("Resize", ["image", "", "s"], ["out"], mode="linear", keep_aspect_ratio_policy=policy), s)
    for axes, name in (([2, 3], "spatial"), ([3, 2], "swapped"), ([1], "channels"), ([-2, -1], "negative")):
        for kind in ("s", "z"):
            k = len(axes)
            given = np.full(k, 2.0, F32) if kind == "s" else np.full(k, 16, np.int64)
            ins = ["image", "", "s"] if kind == "s" else ["image", "", "", "z"]
            yield f"Resize axes {name} {kind}", network(node("Resize", ins, ["out"], mode="linear", axes=axes), {kind: given})
    for exclude in (0, 1):
        yield f"Resize cubic exclude_outside={exclude}", network(node("Resize", ["image", "", "s"], ["out"], mode="cubic", exclude_outside=exclude), s)
    for coefficient in (-0.5, -0.75, -1.0):
        yield f"Resize cubic_coeff_a={coefficient}", network(node("Resize", ["image", "", "s"], ["out"], mode="cubic", cubic_coeff_a=coefficient), s)
    yield "Resize extrapolation", network(node("Resize", ["image", "", "s"], ["out"], mode="linear", extrapolation_value=3.0), s)
    yield "Resize batch", network(node("Resize", ["image", "", "s"], ["out"], mode="nearest"), {"s": np.array([2, 1, 2, 2], F32)})
    yield "Resize channels linear", network(node("Resize", ["image", "", "s"], ["out"], mode="linear"), {"s": np.array([1, 2, 2, 2], F32)})
    yield "Resize channels cubic", network(node("Resize", ["image", "", "s"], ["out"], mode="cubic"), {"s": np.array([1, 2, 2, 2], F32)})
    for shape in ((1, 3, 8), (1, 3, 4, 4, 4), (8, 8), (8,)):
        for mode in ("nearest", "linear", "cubic"):
            scales = np.array([1 if axis < len(shape) - 2 else 2 for axis in range(len(shape))], F32)
            yield f"Resize rank {len(shape)} {mode}", network(node("Resize", ["image", "", "s"], ["out"], mode=mode), {"s": scales}, shape)
    yield "Resize 10 nearest", network(node("Resize", ["image", "s"], ["out"], mode="nearest"), s, opset=10)
    yield "Resize 10 linear", network(node("Resize", ["image", "s"], ["out"], mode="linear"), s, opset=10)
    for mode in ("nearest", "linear"):
        yield f"Upsample 7 {mode}", network(node("Upsample", ["image"], ["out"], mode=mode, scales=[1.0, 1.0, 2.0, 2.0]), opset=7)
        yield f"Upsample 9 {mode}", network(node("Upsample", ["image", "s"], ["out"], mode=mode), s, opset=9)
    yield "Resize int32", network(node("Resize", ["image", "", "s"], ["out"], mode="nearest"), s, dtype=T.INT32)
    yield "Resize computed scales", network([node("Abs", ["scales"], ["s"]), node("Resize", ["image", "", "s"], ["out"], mode="nearest")], {}, more=[("scales", T.FLOAT, (4,))])


def poolings() -> Iterator[Case]:
    for op in ("MaxPool", "AveragePool", "LpPool"):
        for opset in (11, 19 if op != "LpPool" else 18):
            def made(name, shape=(1, 3, 8, 8), **attributes):
                attributes.setdefault("kernel_shape", [3, 3])
                return f"{op} {opset} {name}", network(node(op, ["image"], ["out"], **attributes), None, shape, opset=opset)
            yield made("plain")
            yield made("strides", strides=[2, 2])
            yield made("pads", pads=[1, 1, 1, 1])
            yield made("uneven pads", pads=[0, 1, 1, 0])
            yield made("large pads", pads=[2, 2, 2, 2])
            for pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
                yield made(f"auto_pad {pad}", auto_pad=pad, strides=[2, 2])
            if op != "LpPool" or opset >= 18:
                for ceil in (0, 1):
                    yield made(f"ceil {ceil}", ceil_mode=ceil, strides=[2, 2], pads=[1, 1, 1, 1])
                    yield made(f"ceil {ceil} unpadded", ceil_mode=ceil, strides=[2, 2])
            if op == "MaxPool" or opset >= 18:
                for dilation in ([1, 1], [2, 2], [1, 2]):
                    yield made(f"dilations {dilation}", dilations=dilation)
            if op == "AveragePool":
                for count, ceil in itertools.product((0, 1), (0, 1)):
                    yield made(f"count_include_pad {count} ceil {ceil}", count_include_pad=count, ceil_mode=ceil, pads=[1, 1, 1, 1], strides=[2, 2])
                    yield made(f"count_include_pad {count} ceil {ceil} uneven", count_include_pad=count, ceil_mode=ceil, pads=[0, 0, 1, 1], strides=[2, 2])
            if op == "MaxPool":
                for order in (0, 1):
                    yield made(f"storage_order {order}", storage_order=order)
            if op == "LpPool":
                for p in (1, 2, 3):
                    yield made(f"p {p}", p=p)
            yield made("1d", (1, 3, 8), kernel_shape=[3])
            yield made("3d", (1, 3, 8, 8, 8), kernel_shape=[3, 3, 3])
            yield made("flat", (1, 3, 8, 8), kernel_shape=[1, 8])
            yield made("one", kernel_shape=[1, 1])
    for kernel, shape in (((16, 16), (1, 3, 32, 32)), ((256, 256), (1, 3, 256, 256)), ((257, 256), (1, 3, 257, 256)), ((1, 257), (1, 3, 4, 300)), ((300, 1), (1, 3, 300, 4)), ((128, 256), (1, 3, 128, 256)), ((256, 512), (1, 3, 256, 512))):
        for op in ("MaxPool", "AveragePool"):
            yield f"{op} window {kernel[0]}x{kernel[1]}", network(node(op, ["image"], ["out"], kernel_shape=list(kernel)), None, shape)
    yield "AveragePool window strided", network(node("AveragePool", ["image"], ["out"], kernel_shape=[300, 300], strides=[100, 100]), None, (1, 3, 500, 500))
    for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        for shape in ((1, 3, 8), (1, 3, 8, 8), (1, 3, 4, 4, 4), (1, 3, 512, 1024)):
            yield f"{op} rank {len(shape)} {shape[-1]}", network(node(op, ["image"], ["out"]), None, shape)
    yield "GlobalLpPool p=1", network(node("GlobalLpPool", ["image"], ["out"], p=1))
    yield "GlobalLpPool p=3", network(node("GlobalLpPool", ["image"], ["out"], p=3))
    yield "MaxPool unread indices", network(node("MaxPool", ["image"], ["out", "i"], kernel_shape=[2, 2]))
    yield "MaxPool read indices", network([node("MaxPool", ["image"], ["p", "i"], kernel_shape=[2, 2]), node("Cast", ["i"], ["out"], to=1)])


def pads() -> Iterator[Case]:
    amounts = {"zero": [0] * 8, "even": [0, 0, 1, 1, 0, 0, 1, 1], "uneven": [0, 0, 0, 1, 0, 0, 2, 0], "negative": [0, 0, -1, -1, 0, 0, -1, -1], "mixed": [0, 0, -1, 1, 0, 0, 1, 0], "channels": [0, 1, 0, 0, 0, 1, 0, 0]}
    for mode in ("constant", "reflect", "edge", "wrap"):
        for name, amount in amounts.items():
            yield f"Pad {mode} {name}", network(node("Pad", ["image", "p"], ["out"], mode=mode), {"p": np.array(amount, np.int64)}, opset=19 if mode == "wrap" else 18)
    yield "Pad value", network(node("Pad", ["image", "p", "v"], ["out"]), {"p": np.array(amounts["even"], np.int64), "v": F32(3)})
    yield "Pad computed value", network([node("Abs", ["v0"], ["v"]), node("Pad", ["image", "p", "v"], ["out"])], {"p": np.array(amounts["even"], np.int64)}, more=[("v0", T.FLOAT, ())])
    yield "Pad axes", network(node("Pad", ["image", "p", "", "a"], ["out"]), {"p": np.array([1, 1, 1, 1], np.int64), "a": np.array([2, 3], np.int64)})
    yield "Pad axes negative", network(node("Pad", ["image", "p", "", "a"], ["out"]), {"p": np.array([1, 1, 1, 1], np.int64), "a": np.array([-2, -1], np.int64)})
    yield "Pad computed amounts", network([node("Shape", ["image"], ["h"]), node("Mul", ["h", "z"], ["h0"]), node("Concat", ["h0", "h0"], ["p"], axis=0), node("Pad", ["image", "p"], ["out"])], {"z": np.array(0, np.int64)})
    for mode in ("constant", "reflect", "edge"):
        yield f"Pad 2 {mode}", network(node("Pad", ["image"], ["out"], mode=mode, pads=amounts["even"]), opset=10)
        yield f"Pad int32 {mode}", network(node("Pad", ["image", "p"], ["out"], mode=mode), {"p": np.array(amounts["even"], np.int64)}, dtype=T.INT32)
        yield f"Pad rank 2 {mode}", network(node("Pad", ["image", "p"], ["out"], mode=mode), {"p": np.array([0, 1, 0, 1], np.int64)}, (4, 8))


def convolutions() -> Iterator[Case]:
    weight = {"w": np.full((4, 3, 3, 3), 0.1, F32)}
    turned = {"w": np.full((3, 4, 3, 3), 0.1, F32)}
    for op, given in (("Conv", weight), ("ConvTranspose", turned)):
        def made(name, extra=None, shape=(1, 3, 8, 8), given=given, **attributes):
            return f"{op} {name}", network(node(op, ["image", "w"], ["out"], **attributes), {**given, **(extra or {})}, shape)
        yield made("plain")
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
            for stride in (1, 2):
                yield made(f"auto_pad {pad} stride {stride}", auto_pad=pad, strides=[stride] * 2)
        yield made("uneven pads", pads=[0, 1, 1, 0])
        yield made("dilations", dilations=[2, 2])
        yield made("strides", strides=[2, 2])
        yield made("strides and dilations", strides=[2, 2], dilations=[2, 2])
        yield made("strides and dilations, one axis each", strides=[2, 1], dilations=[1, 2])
        one = np.full((4, 3, 3), 0.1, F32) if op == "Conv" else np.full((3, 4, 3), 0.1, F32)
        yield made("1d", shape=(1, 3, 8), given={"w": one})
        yield made("1d strides", shape=(1, 3, 8), given={"w": one}, strides=[2])
        yield made("3d", shape=(1, 3, 8, 8, 8), given={"w": np.repeat(given["w"][..., None], 3, -1)})
        yield made("3d dilations", shape=(1, 3, 8, 8, 8), given={"w": np.repeat(given["w"][..., None], 3, -1)}, dilations=[2, 2, 2])
        yield made("group", given={"w": np.full((3, 1, 3, 3), 0.1, F32)}, group=3)
        yield f"{op} computed weight", network([node("Abs", ["w0"], ["w"]), node(op, ["image", "w"], ["out"])], None, more=[("w0", T.FLOAT, given["w"].shape)])
        yield f"{op} computed bias", network([node("Abs", ["b0"], ["b"]), node(op, ["image", "w", "b"], ["out"])], given, more=[("b0", T.FLOAT, (4,))])
        yield f"{op} bias", network(node(op, ["image", "w", "b"], ["out"]), {**given, "b": np.ones(4, F32)})
    for padding in ([0, 0], [1, 1], [1, 0]):
        yield f"ConvTranspose output_padding {padding}", network(node("ConvTranspose", ["image", "w"], ["out"], strides=[2, 2], output_padding=padding), turned)
        yield f"ConvTranspose output_padding {padding} pads", network(node("ConvTranspose", ["image", "w"], ["out"], strides=[2, 2], output_padding=padding, pads=[1, 1, 1, 1]), turned)
    yield "ConvTranspose output_shape", network(node("ConvTranspose", ["image", "w"], ["out"], strides=[2, 2], output_shape=[16, 16]), turned)
    yield "ConvTranspose output_shape odd", network(node("ConvTranspose", ["image", "w"], ["out"], strides=[2, 2], output_shape=[15, 18]), turned)
    yield "ConvTranspose group dilations", network(node("ConvTranspose", ["image", "w"], ["out"], group=3, dilations=[2, 2]), {"w": np.full((3, 1, 3, 3), 0.1, F32)})
    for kernel in (33, 65):
        yield f"Conv kernel {kernel}", network(node("Conv", ["image", "w"], ["out"]), {"w": np.full((2, 3, kernel, kernel), 0.1, F32)}, (1, 3, 70, 70))
    yield "DeformConv", network(node("DeformConv", ["image", "w", "o"], ["out"]), {**weight, "o": np.zeros((1, 18, 6, 6), F32)}, opset=19)
    m = {"w": np.full((8, 5), 0.1, F32)}
    yield "MatMul", network(node("MatMul", ["image", "w"], ["out"]), m)
    yield "MatMul vector", network(node("MatMul", ["image", "w"], ["out"]), {"w": np.ones(8, F32)})
    yield "MatMul int32", network(node("MatMul", ["image", "w"], ["out"]), {"w": np.ones((8, 5), np.int32)}, dtype=T.INT32)
    for a, b, alpha, beta in itertools.product((0, 1), (0, 1), (1.0, 0.5), (1.0, 0.5)):
        yield f"Gemm {a} {b} {alpha} {beta}", network(node("Gemm", ["image", "w", "c"], ["out"], transA=a, transB=b, alpha=alpha, beta=beta), {"w": np.ones((8, 8), F32), "c": np.ones(8, F32)}, (8, 8))
    yield "Gemm no c", network(node("Gemm", ["image", "w"], ["out"]), {"w": np.ones((8, 4), F32)}, (2, 8))
    yield "Gemm c full", network(node("Gemm", ["image", "w", "c"], ["out"]), {"w": np.ones((8, 4), F32), "c": np.ones((2, 4), F32)}, (2, 8))
    yield "Gemm c scalar", network(node("Gemm", ["image", "w", "c"], ["out"]), {"w": np.ones((8, 4), F32), "c": F32(1)}, (2, 8))


def normalizations() -> Iterator[Case]:
    for shape in ((1, 3, 8), (1, 3, 8, 8), (1, 3, 4, 4, 4)):
        yield f"InstanceNormalization rank {len(shape)}", network(node("InstanceNormalization", ["image", "s", "b"], ["out"]), {"s": np.ones(3, F32), "b": np.zeros(3, F32)}, shape)
    yield "InstanceNormalization computed", network([node("Abs", ["s0"], ["s"]), node("InstanceNormalization", ["image", "s", "b"], ["out"])], {"b": np.zeros(3, F32)}, more=[("s0", T.FLOAT, (3,))])
    bn = {name: np.ones(3, F32) for name in "sbmv"}
    yield "BatchNormalization", network(node("BatchNormalization", ["image", *"sbmv"], ["out"]), bn)
    yield "BatchNormalization training", network(node("BatchNormalization", ["image", *"sbmv"], ["out", "m2", "v2"], training_mode=1), bn)
    yield "BatchNormalization rank 2", network(node("BatchNormalization", ["image", *"sbmv"], ["out"]), bn, (4, 3))
    yield "BatchNormalization computed", network([node("Abs", ["s0"], ["s"]), node("BatchNormalization", ["image", *"sbmv"], ["out"])], {name: bn[name] for name in "bmv"}, more=[("s0", T.FLOAT, (3,))])
    for axis in (-1, 1, 2, -2, 0):
        dims = (1, 3, 8, 8)[axis:]
        yield f"LayerNormalization axis {axis}", network(node("LayerNormalization", ["image", "s", "b"], ["out"], axis=axis), {"s": np.ones(dims, F32), "b": np.zeros(dims, F32)})
        yield f"LayerNormalization axis {axis} no bias", network(node("LayerNormalization", ["image", "s"], ["out"], axis=axis), {"s": np.ones(dims, F32)})
    yield "LayerNormalization mean", network(node("LayerNormalization", ["image", "s"], ["out", "m"]), {"s": np.ones(8, F32)}, outputs=("out", "m"))
    yield "LayerNormalization unread mean", network(node("LayerNormalization", ["image", "s"], ["out", "m", "v"]), {"s": np.ones(8, F32)})
    yield "LayerNormalization stash", network(node("LayerNormalization", ["image", "s"], ["out"], stash_type=16), {"s": np.ones(8, F32)})
    for groups in (1, 3):
        for opset in (18, 21):
            size = groups if opset == 18 else 3
            yield f"GroupNormalization {opset} {groups}", network(node("GroupNormalization", ["image", "s", "b"], ["out"], num_groups=groups), {"s": np.ones(size, F32), "b": np.zeros(size, F32)}, opset=opset)
    for axes in ([0, 2, 3], [2, 3], [1]):
        yield f"MeanVarianceNormalization {axes}", network(node("MeanVarianceNormalization", ["image"], ["out"], axes=axes))
    for p, axis in itertools.product((1, 2), (-1, 1)):
        yield f"LpNormalization {p} {axis}", network(node("LpNormalization", ["image"], ["out"], p=p, axis=axis))
    for size in (1, 3, 4, 5, 15, 17):
        yield f"LRN {size}", network(node("LRN", ["image"], ["out"], size=size))
    yield "LRN rank 3", network(node("LRN", ["image"], ["out"], size=3), None, (1, 3, 8))
    yield "RMSNormalization", network(node("RMSNormalization", ["image", "s"], ["out"]), {"s": np.ones(8, F32)}, opset=23)


def softmaxes() -> Iterator[Case]:
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset in (11, 13):
            for axis in (-1, 0, 1, 2, 3):
                yield f"{op} {opset} axis {axis}", network(node(op, ["image"], ["out"], axis=axis), opset=opset)
            yield f"{op} {opset} default", network(node(op, ["image"], ["out"]), opset=opset)
            yield f"{op} {opset} rank 2", network(node(op, ["image"], ["out"], axis=1), None, (2, 5), opset=opset)
            yield f"{op} {opset} rank 1", network(node(op, ["image"], ["out"], axis=0), None, (5,), opset=opset)
