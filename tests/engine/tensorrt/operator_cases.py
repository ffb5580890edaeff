"""Cases of all other operators, and of data types."""
# ruff: noqa: B023, C901, PLR0912
# fmt: off

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from case_network import F32, Case, T, helper, network, node, numpy_helper


def cases() -> Iterator[Case]:
    """Yields every case of this file."""
    for part in (reductions, indexings, scatters, sequences, einsums, casts, spatials, elementwise, movers, windows, controls, dynamics, typed):
        yield from part()


def reductions() -> Iterator[Case]:
    for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"):
        for keep in (0, 1):
            yield f"{op} keepdims {keep}", network(node(op, ["image", "a"], ["out"], keepdims=keep), {"a": np.array([2, 3], np.int64)})
        yield f"{op} all", network(node(op, ["image"], ["out"]))
        yield f"{op} noop", network(node(op, ["image"], ["out"], noop_with_empty_axes=1))
        yield f"{op} batch", network(node(op, ["image", "a"], ["out"]), {"a": np.array([0], np.int64)})
        yield f"{op} int32", network(node(op, ["image", "a"], ["out"]), {"a": np.array([1], np.int64)}, dtype=T.INT32)
        yield f"{op} 11", network(node(op, ["image"], ["out"], axes=[1, -1]), opset=11)
        yield f"{op} computed axes", network([node("Abs", ["a0"], ["a"]), node(op, ["image", "a"], ["out"])], None, more=[("a0", T.INT64, (1,))])
    for op in ("ArgMax", "ArgMin"):
        for keep, last in itertools.product((0, 1), (0, 1)):
            yield f"{op} keepdims {keep} last {last}", network([node(op, ["image"], ["i"], axis=1, keepdims=keep, select_last_index=last), node("Cast", ["i"], ["out"], to=1)])
        for axis in (0, 2, 3, -1):
            yield f"{op} axis {axis}", network([node(op, ["image"], ["i"], axis=axis), node("Cast", ["i"], ["out"], to=1)])
        yield f"{op} int32", network([node(op, ["image"], ["i"], axis=1), node("Cast", ["i"], ["out"], to=1)], dtype=T.INT32)
        yield f"{op} rank 1", network([node(op, ["image"], ["i"], axis=0), node("Cast", ["i"], ["out"], to=1)], None, (8,))
        yield f"{op} out int64", network(node(op, ["image"], ["out"], axis=1), kind=T.INT64)
    for largest, ordered, axis in itertools.product((0, 1), (0, 1), (-1, 1)):
        yield f"TopK {largest} {ordered} {axis}", network([node("TopK", ["image", "k"], ["out", "i"], largest=largest, sorted=ordered, axis=axis)], {"k": np.array([2], np.int64)})
    for k in (3840, 3841, 4000):
        yield f"TopK k={k}", network([node("TopK", ["image", "k"], ["out", "i"])], {"k": np.array([k], np.int64)}, (1, 5000))
    yield "TopK int32", network([node("TopK", ["image", "k"], ["out", "i"])], {"k": np.array([2], np.int64)}, dtype=T.INT32)
    yield "TopK 10", network([node("TopK", ["image", "k"], ["out", "i"])], {"k": np.array([2], np.int64)}, opset=10)
    yield "TopK computed k", network([node("Abs", ["k0"], ["k"]), node("TopK", ["image", "k"], ["out", "i"])], None, more=[("k0", T.INT64, (1,))])
    for exclusive, reverse, axis in itertools.product((0, 1), (0, 1), (1, -1)):
        yield f"CumSum {exclusive} {reverse} {axis}", network(node("CumSum", ["image", "a"], ["out"], exclusive=exclusive, reverse=reverse), {"a": np.array(axis, np.int64)})
    yield "CumSum int32", network(node("CumSum", ["image", "a"], ["out"]), {"a": np.array(1, np.int64)}, dtype=T.INT32)
    yield "CumSum computed axis", network([node("Abs", ["a0"], ["a"]), node("CumSum", ["image", "a"], ["out"])], None, more=[("a0", T.INT64, ())])
    yield "CumProd", network(node("CumProd", ["image", "a"], ["out"]), {"a": np.array(1, np.int64)}, opset=26)


def indexings() -> Iterator[Case]:
    for axis in (0, 1, 2, -1):
        yield f"Gather axis {axis}", network(node("Gather", ["image", "i"], ["out"], axis=axis), {"i": np.array([0], np.int64)})
    yield "Gather negative", network(node("Gather", ["image", "i"], ["out"], axis=1), {"i": np.array([-1], np.int64)})
    yield "Gather scalar", network(node("Gather", ["image", "i"], ["out"], axis=1), {"i": np.array(1, np.int64)})
    yield "Gather int32 index", network(node("Gather", ["image", "i"], ["out"], axis=1), {"i": np.array([1], np.int32)})
    yield "Gather computed", network([node("Abs", ["i0"], ["i"]), node("Gather", ["image", "i"], ["out"], axis=1)], None, more=[("i0", T.INT64, (2,))])
    for axis in (1, -1):
        yield f"GatherElements {axis}", network(node("GatherElements", ["image", "i"], ["out"], axis=axis), {"i": np.zeros((1, 3, 8, 8), np.int64)})
    for batch in (0, 1):
        shape = (1, 3, 8, 8)
        yield f"GatherND batch_dims {batch}", network(node("GatherND", ["image", "i"], ["out"], batch_dims=batch), {"i": np.zeros((1, 2, 2), np.int64)}, shape)
    yield "GatherND computed", network([node("Abs", ["i0"], ["i"]), node("GatherND", ["image", "i"], ["out"])], None, more=[("i0", T.INT64, (2, 2))])
    for steps in (1, 2, -1):
        yield f"Slice steps {steps}", network(node("Slice", ["image", "b", "e", "a", "s"], ["out"]), {"b": np.array([0 if steps > 0 else 7], np.int64), "e": np.array([8 if steps > 0 else -(2**31)], np.int64), "a": np.array([3], np.int64), "s": np.array([steps], np.int64)})
    yield "Slice 9", network(node("Slice", ["image"], ["out"], starts=[1], ends=[3], axes=[3]), opset=9)
    yield "Slice huge end", network(node("Slice", ["image", "b", "e", "a"], ["out"]), {"b": np.array([1], np.int64), "e": np.array([2**63 - 1], np.int64), "a": np.array([3], np.int64)})
    yield "Slice empty", network(node("Slice", ["image", "b", "e", "a"], ["out"]), {"b": np.array([5], np.int64), "e": np.array([5], np.int64), "a": np.array([3], np.int64)})
    yield "Slice computed", network([node("Abs", ["b0"], ["b"]), node("Slice", ["image", "b", "e", "a"], ["out"])], {"e": np.array([8], np.int64), "a": np.array([3], np.int64)}, more=[("b0", T.INT64, (1,))])
    yield "NonZero", network([node("NonZero", ["image"], ["i"]), node("Cast", ["i"], ["out"], to=1)])
    yield "Compress", network(node("Compress", ["image", "c"], ["out"], axis=1), {"c": np.array([True, False, True])})
    for axis in (-1, 0, 1):
        yield f"OneHot {axis}", network([node("Cast", ["image"], ["c"], to=6), node("OneHot", ["c", "d", "v"], ["out"], axis=axis)], {"d": np.array(4, np.int64), "v": np.array([0, 1], F32)}, (2, 3))
    yield "OneHot depth vector", network([node("Cast", ["image"], ["c"], to=6), node("OneHot", ["c", "d", "v"], ["out"])], {"d": np.array([4], np.int64), "v": np.array([0, 1], F32)}, (2, 3))
    for batch, time in ((0, 1), (1, 0)):
        yield f"ReverseSequence {batch}", network(node("ReverseSequence", ["image", "l"], ["out"], batch_axis=batch, time_axis=time), {"l": np.array([2, 2, 2, 2], np.int64)}, (4, 4))
    yield "NonMaxSuppression", network([node("NonMaxSuppression", ["image", "sc", "m", "t", "u"], ["i"]), node("Cast", ["i"], ["out"], to=1)], {"sc": np.ones((1, 1, 6), F32), "m": np.array([3], np.int64), "t": np.array([0.5], F32), "u": np.array([0.1], F32)}, (1, 6, 4))
    yield "Unique", network([node("Unique", ["image"], ["out"])])
    yield "EyeLike", network(node("EyeLike", ["image"], ["out"]), None, (4, 4))
    yield "EyeLike k", network(node("EyeLike", ["image"], ["out"], k=1), None, (4, 4))
    for upper, k in itertools.product((0, 1), (None, 0, 1, -1)):
        constants = {} if k is None else {"k": np.array(k, np.int64)}
        yield f"Trilu {upper} {k}", network(node("Trilu", ["image", *constants], ["out"], upper=upper), constants)
    yield "Trilu int32", network(node("Trilu", ["image"], ["out"]), dtype=T.INT32)
    yield "Where", network([node("Greater", ["image", "z"], ["c"]), node("Where", ["c", "image", "z"], ["out"])], {"z": F32(0)})


def scatters() -> Iterator[Case]:
    for reduction in ("none", "add", "mul", "max", "min"):
        yield f"ScatterND {reduction}", network(node("ScatterND", ["image", "i", "u"], ["out"], reduction=reduction), {"i": np.zeros((1, 4), np.int64), "u": np.ones(1, F32)})
        yield f"ScatterElements {reduction}", network(node("ScatterElements", ["image", "i", "u"], ["out"], axis=1, reduction=reduction), {"i": np.zeros((1, 1, 8, 8), np.int64), "u": np.ones((1, 1, 8, 8), F32)})
    for axis in (0, 1, -1):
        yield f"ScatterElements axis {axis}", network(node("ScatterElements", ["image", "i", "u"], ["out"], axis=axis), {"i": np.zeros((1, 1, 8, 8), np.int64), "u": np.ones((1, 1, 8, 8), F32)})
    yield "Scatter 9", network(node("Scatter", ["image", "i", "u"], ["out"], axis=1), {"i": np.zeros((1, 1, 8, 8), np.int64), "u": np.ones((1, 1, 8, 8), F32)}, opset=9)
    yield "ScatterND int32", network(node("ScatterND", ["image", "i", "u"], ["out"]), {"i": np.zeros((1, 4), np.int64), "u": np.ones(1, np.int32)}, dtype=T.INT32)
    yield "ScatterND computed", network([node("Abs", ["u0"], ["u"]), node("ScatterND", ["image", "i", "u"], ["out"])], {"i": np.zeros((1, 4), np.int64)}, more=[("u0", T.FLOAT, (1,))])
    yield "TensorScatter", network(node("TensorScatter", ["image", "u"], ["out"]), {"u": np.ones((1, 3, 1, 8), F32)}, opset=24)


def sequences() -> Iterator[Case]:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}
    for op, count in gates.items():
        for direction in ("forward", "reverse", "bidirectional"):
            turns = 2 if direction == "bidirectional" else 1
            base = {"w": np.full((turns, count * 4, 6), 0.1, F32), "r": np.full((turns, count * 4, 4), 0.1, F32)}
            def made(name, extra=None, more=(), **attributes):
                inputs = ["image", "w", "r", *(extra or {}), *more]
                return f"{op} {direction} {name}", network(node(op, inputs, ["out"], hidden_size=4, direction=direction, **attributes), {**base, **(extra or {})}, (5, 1, 6))
            yield made("plain")
            yield made("bias", {"b": np.zeros((turns, 2 * count * 4), F32)})
            yield made("clip", clip=1.0)
            if op == "GRU":
                yield made("reset", linear_before_reset=1)
            if op == "LSTM":
                yield made("forget", input_forget=1)
            names = {"GRU": ["HardSigmoid", "Tanh"], "LSTM": ["HardSigmoid", "Tanh", "Tanh"], "RNN": ["Relu"]}[op]
            yield made("activations", activations=names * turns)
            strange = {"GRU": ["Softplus", "Softsign"], "LSTM": ["Softplus", "Softsign", "Affine"], "RNN": ["Affine"]}[op]
            yield made("strange activations", activations=strange * turns, activation_alpha=[1.0] * len(strange) * turns, activation_beta=[0.0] * len(strange) * turns)
            lengths = {"b": np.zeros((turns, 2 * count * 4), F32), "l": np.array([3], np.int32)}
            yield made("lengths", lengths)
            yield f"{op} {direction} layout 1", network(node(op, ["image", "w", "r"], ["out"], hidden_size=4, direction=direction, layout=1), base, (1, 5, 6))
        yield f"{op} last state", network(node(op, ["image", "w", "r"], ["", "out"], hidden_size=4), {"w": np.full((1, count * 4, 6), 0.1, F32), "r": np.full((1, count * 4, 4), 0.1, F32)}, (5, 1, 6))


def einsums() -> Iterator[Case]:
    forms = {"bij,bjk->bik": ((2, 3, 4), (2, 4, 5)), "ij,jk": ((3, 4), (4, 5)), "bhqd,bhkd->bhqk": ((1, 2, 5, 4), (1, 2, 6, 4)), "...ij,...jk->...ik": ((2, 3, 4), (2, 4, 5)), "ii->i": ((4, 4), None), "ij->ji": ((3, 4), None), "ij->i": ((3, 4), None), "ij->": ((3, 4), None), "ii->": ((4, 4), None), "i,j->ij": ((3,), (4,)), "nc hw,nc->nhw": ((1, 3, 4, 4), (1, 3)), "bij,bij->bij": ((2, 3, 4), (2, 3, 4)), "ij,ij->": ((3, 4), (3, 4)), "iij,jk->ik": ((3, 3, 4), (4, 5)), "ij,jk->ki": ((3, 4), (4, 5)), "IJ,JK->IK": ((3, 4), (4, 5))}
    for form, (left, right) in forms.items():
        ins = ["image"] if right is None else ["image", "w"]
        yield f"Einsum {form}", network(node("Einsum", ins, ["out"], equation=form), {} if right is None else {"w": np.ones(right, F32)}, left)
    yield "Einsum three", network(node("Einsum", ["image", "w", "v"], ["out"], equation="ij,jk,kl->il"), {"w": np.ones((4, 5), F32), "v": np.ones((5, 2), F32)}, (3, 4))
    yield "Einsum int32", network(node("Einsum", ["image", "w"], ["out"], equation="ij,jk->ik"), {"w": np.ones((4, 5), np.int32)}, (3, 4), dtype=T.INT32)


def casts() -> Iterator[Case]:
    kinds = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL", "FLOAT8E4M3FN", "FLOAT8E5M2", "INT4", "UINT4")
    for kind in kinds:
        yield f"Cast to {kind}", network([node("Cast", ["image"], ["a"], to=getattr(T, kind)), node("Cast", ["a"], ["out"], to=1)], opset=21)
    for kind in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "BOOL"):
        value = getattr(T, kind)
        yield f"Cast from input {kind}", network([node("Cast", ["image"], ["out"], to=1)], dtype=value)
        yield f"Cast to output {kind}", network([node("Cast", ["image"], ["out"], to=value)], kind=value)
        yield f"Cast int32 to output {kind}", network([node("Cast", ["image"], ["a"], to=T.INT32), node("Cast", ["a"], ["out"], to=value)], kind=value)
        yield f"Identity of input {kind}", network([node("Identity", ["image"], ["out"])], dtype=value, kind=value)
        yield f"Transpose of input {kind}", network([node("Transpose", ["image"], ["t"], perm=[0, 2, 3, 1]), node("Cast", ["t"], ["out"], to=1)], dtype=value)
        if kind not in ("BOOL", "BFLOAT16"):
            yield f"Add of input {kind}", network([node("Add", ["image", "image"], ["t"]), node("Cast", ["t"], ["out"], to=1)], dtype=value)
            yield f"Relu of input {kind}", network([node("Relu", ["image"], ["t"]), node("Cast", ["t"], ["out"], to=1)], dtype=value)
            dtype = helper.tensor_dtype_to_np_dtype(value)
            yield f"Constant {kind}", network([node("Cast", ["c"], ["t"], to=1), node("Add", ["image", "t"], ["out"])], {"c": np.ones((1, 3, 8, 8), dtype)})
    yield "CastLike", network([node("CastLike", ["image", "c"], ["a"]), node("Cast", ["a"], ["out"], to=1)], {"c": np.int32(1)})
    yield "CastLike uint8", network([node("CastLike", ["image", "c"], ["a"]), node("Cast", ["a"], ["out"], to=1)], {"c": np.uint8(1)})
    yield "mixed types", network([node("Cast", ["image"], ["h"], to=10), node("Add", ["h", "image"], ["out"])])


def spatials() -> Iterator[Case]:
    for mode in ("DCR", "CRD"):
        yield f"DepthToSpace {mode}", network(node("DepthToSpace", ["image"], ["out"], blocksize=2, mode=mode), None, (1, 12, 4, 4))
    yield "DepthToSpace batch", network(node("DepthToSpace", ["image"], ["out"], blocksize=2), None, (2, 12, 4, 4))
    yield "SpaceToDepth", network(node("SpaceToDepth", ["image"], ["out"], blocksize=2))
    for opset, modes in ((16, ("bilinear", "nearest", "bicubic")), (20, ("linear", "nearest", "cubic"))):
        for mode, padding, aligned in itertools.product(modes, ("zeros", "border", "reflection"), (0, 1)):
            yield f"GridSample {opset} {mode} {padding} {aligned}", network(node("GridSample", ["image", "g"], ["out"], mode=mode, padding_mode=padding, align_corners=aligned), {"g": np.zeros((1, 4, 4, 2), F32)}, opset=opset)
    yield "GridSample rank 5", network(node("GridSample", ["image", "g"], ["out"], mode="linear"), {"g": np.zeros((1, 4, 4, 4, 3), F32)}, (1, 3, 4, 4, 4), opset=20)
    for mode, way in itertools.product(("avg", "max"), ("half_pixel", "output_half_pixel")):
        for ratio in (0, 2):
            yield f"RoiAlign {mode} {way} {ratio}", network(node("RoiAlign", ["image", "r", "b"], ["out"], mode=mode, coordinate_transformation_mode=way, sampling_ratio=ratio, output_height=2, output_width=2), {"r": np.array([[0, 0, 4, 4]], F32), "b": np.array([0], np.int64)})
    yield "MaxRoiPool", network(node("MaxRoiPool", ["image", "r"], ["out"], pooled_shape=[2, 2]), {"r": np.array([[0, 0, 0, 4, 4]], F32)})
    yield "AffineGrid", network([node("AffineGrid", ["image", "z"], ["out"])], {"z": np.array([1, 3, 4, 4], np.int64)}, (1, 2, 3), opset=20)
    yield "Col2Im", network(node("Col2Im", ["image", "s", "k"], ["out"]), {"s": np.array([4, 4], np.int64), "k": np.array([2, 2], np.int64)}, (1, 12, 9))
    yield "CenterCropPad", network(node("CenterCropPad", ["image", "s"], ["out"], axes=[2, 3]), {"s": np.array([4, 4], np.int64)})


def elementwise() -> Iterator[Case]:
    unary = ["Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu", "Celu", "Shrink"]
    for op in unary:
        yield f"{op}", network(node(op, ["image"], ["out"]))
        if op in ["Abs", "Neg", "Relu", "Sign", "Identity", "Sqrt", "Exp", "Floor", "Round", "Ceil", "Reciprocal"]:
            yield f"{op} int32", network(node(op, ["image"], ["out"]), dtype=T.INT32)
            yield f"{op} int64", network(node(op, ["image"], ["out"]), dtype=T.INT64)
        yield f"{op} scalar", network(node(op, ["image"], ["out"]), None, ())
        yield f"{op} half", network(node(op, ["image"], ["out"]), dtype=T.FLOAT16)
    for way in ("none", "tanh"):
        yield f"Gelu {way}", network(node("Gelu", ["image"], ["out"], approximate=way), opset=20)
    yield "Swish", network(node("Swish", ["image"], ["out"]), opset=24)
    for op in ("IsNaN", "IsInf"):
        yield op, network([node(op, ["image"], ["b"]), node("Cast", ["b"], ["out"], to=1)], opset=20)
    yield "IsInf positive only", network([node("IsInf", ["image"], ["b"], detect_negative=0), node("Cast", ["b"], ["out"], to=1)], opset=20)
    yield "IsInf negative only", network([node("IsInf", ["image"], ["b"], detect_positive=0), node("Cast", ["b"], ["out"], to=1)], opset=20)
    for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "Mean", "Sum"):
        yield op, network(node(op, ["image", "c"], ["out"]), {"c": np.ones((3, 1, 1), F32)})
        if op not in ("PRelu", "Mean", "Sum"):
            for kind, dtype in ((T.INT32, np.int32), (T.INT64, np.int64)):
                yield f"{op} {dtype.__name__}", network(node(op, ["image", "c"], ["out"]), {"c": np.ones((3, 1, 1), dtype)}, dtype=kind)
    yield "Pow mixed", network(node("Pow", ["image", "c"], ["out"]), {"c": np.ones((), np.int64)})
    yield "Pow mixed int32", network(node("Pow", ["image", "c"], ["out"]), {"c": np.ones((), np.int32)})
    for op in ("Max", "Min", "Mean", "Sum"):
        yield f"{op} one", network(node(op, ["image"], ["out"]))
        yield f"{op} three", network(node(op, ["image", "image", "c"], ["out"]), {"c": F32(1)})
    for fmod in (0, 1):
        yield f"Mod float {fmod}", network(node("Mod", ["image", "c"], ["out"], fmod=fmod), {"c": F32(2)})
        yield f"Mod int32 {fmod}", network(node("Mod", ["image", "c"], ["out"], fmod=fmod), {"c": np.int32(2)}, dtype=T.INT32)
    for op in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
        yield op, network([node(op, ["image", "c"], ["b"]), node("Cast", ["b"], ["out"], to=1)], {"c": F32(0)})
    for op in ("And", "Or", "Xor"):
        yield op, network([node("Greater", ["image", "c"], ["b"]), node(op, ["b", "b"], ["d"]), node("Cast", ["d"], ["out"], to=1)], {"c": F32(0)})
    yield "Not", network([node("Greater", ["image", "c"], ["b"]), node("Not", ["b"], ["d"]), node("Cast", ["d"], ["out"], to=1)], {"c": F32(0)})
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        yield op, network(node(op, ["image", "c"], ["out"]), {"c": np.int32(1)}, dtype=T.INT32)
    yield "BitwiseNot", network(node("BitwiseNot", ["image"], ["out"]), dtype=T.INT32)
    yield "BitShift", network([node("BitShift", ["image", "c"], ["out"], direction="LEFT")], {"c": np.uint32(1)}, dtype=T.UINT32)
    for low, high in ((None, None), (0.0, None), (None, 6.0), (0.0, 6.0)):
        ins = ["image", "" if low is None else "l", "" if high is None else "h"]
        yield f"Clip {low} {high}", network(node("Clip", ins, ["out"]), {**({} if low is None else {"l": F32(low)}), **({} if high is None else {"h": F32(high)})})
    yield "Clip 6", network(node("Clip", ["image"], ["out"], min=0.0, max=6.0), opset=6)
    yield "Clip int32", network(node("Clip", ["image", "l", "h"], ["out"]), {"l": np.int32(0), "h": np.int32(6)}, dtype=T.INT32)
    yield "Clip computed", network([node("Abs", ["l0"], ["l"]), node("Clip", ["image", "l"], ["out"])], None, more=[("l0", T.FLOAT, ())])
    yield "Dropout", network(node("Dropout", ["image"], ["out"]))
    yield "Dropout mask", network([node("Dropout", ["image"], ["out", "m"])], outputs=("out",))
    yield "Dropout training", network([node("Dropout", ["image", "r", "t"], ["out"])], {"r": F32(0.5), "t": np.array(True)})
    yield "Det", network(node("Det", ["image"], ["out"]))
    yield "Bernoulli", network(node("Bernoulli", ["image"], ["out"]))
    for op in ("RandomNormalLike", "RandomUniformLike"):
        yield op, network([node(op, ["image"], ["r"]), node("Add", ["r", "image"], ["out"])])
        yield f"{op} seed", network([node(op, ["image"], ["r"], seed=1.0), node("Add", ["r", "image"], ["out"])])
    yield "RandomNormal", network([node("RandomNormal", [], ["r"], shape=[1, 3, 8, 8]), node("Add", ["r", "image"], ["out"])])
    yield "PRelu per element", network(node("PRelu", ["image", "c"], ["out"]), {"c": np.ones((3, 8, 8), F32)})
    yield "PRelu computed", network([node("Abs", ["c0"], ["c"]), node("PRelu", ["image", "c"], ["out"])], None, more=[("c0", T.FLOAT, (3, 1, 1))])


def movers() -> Iterator[Case]:
    for shape in ([1, -1], [0, 0, -1], [1, 3, 64], [1, 3, 8, 8, 1]):
        yield f"Reshape {shape}", network(node("Reshape", ["image", "s"], ["out"]), {"s": np.array(shape, np.int64)})
    yield "Reshape allowzero", network(node("Reshape", ["image", "s"], ["out"], allowzero=1), {"s": np.array([1, 192], np.int64)})
    yield "Reshape computed", network([node("Shape", ["image"], ["s"]), node("Slice", ["s", "b", "e"], ["t"]), node("Concat", ["t", "m"], ["u"], axis=0), node("Reshape", ["image", "u"], ["out"])], {"b": np.array([0], np.int64), "e": np.array([1], np.int64), "m": np.array([-1], np.int64)})
    for axis in (0, 1, 2, -1, 4):
        yield f"Flatten {axis}", network(node("Flatten", ["image"], ["out"], axis=axis))
    yield "Transpose default", network(node("Transpose", ["image"], ["out"]))
    yield "Transpose 5d", network(node("Transpose", ["image"], ["out"], perm=[0, 4, 1, 2, 3]), None, (1, 2, 3, 4, 5))
    for rank in (7, 8, 9):
        yield f"rank {rank}", network([node("Reshape", ["image", "s"], ["r"]), node("Relu", ["r"], ["out"])], {"s": np.array([1] * (rank - 4) + [1, 3, 8, 8], np.int64)})
    for axis in (0, 1, -1):
        yield f"Concat {axis}", network(node("Concat", ["image", "image"], ["out"], axis=axis))
    yield "Concat one", network(node("Concat", ["image"], ["out"], axis=1))
    yield "Split sizes", network([node("Split", ["image", "s"], ["a", "b"], axis=1), node("Concat", ["b", "a"], ["out"], axis=1)], {"s": np.array([1, 2], np.int64)})
    yield "Split num_outputs", network([node("Split", ["image"], ["a", "b"], axis=2, num_outputs=2), node("Add", ["b", "a"], ["out"])])
    yield "Split num_outputs uneven", network([node("Split", ["image"], ["a", "b"], axis=1, num_outputs=2), node("Concat", ["b", "a"], ["out"], axis=1)])
    yield "Split 2", network([node("Split", ["image"], ["a", "b"], axis=1, split=[1, 2]), node("Concat", ["b", "a"], ["out"], axis=1)], opset=11)
    yield "Squeeze", network(node("Squeeze", ["image", "a"], ["out"]), {"a": np.array([0], np.int64)})
    yield "Squeeze all", network(node("Squeeze", ["image"], ["out"]))
    yield "Squeeze negative", network(node("Squeeze", ["image", "a"], ["out"]), {"a": np.array([-4], np.int64)})
    yield "Unsqueeze", network(node("Unsqueeze", ["image", "a"], ["out"]), {"a": np.array([0, 5], np.int64)})
    yield "Unsqueeze negative", network(node("Unsqueeze", ["image", "a"], ["out"]), {"a": np.array([-1], np.int64)})
    yield "Tile", network(node("Tile", ["image", "r"], ["out"]), {"r": np.array([1, 2, 1, 3], np.int64)})
    yield "Tile computed", network([node("Abs", ["r0"], ["r"]), node("Tile", ["image", "r"], ["out"])], None, more=[("r0", T.INT64, (4,))])
    yield "Expand", network(node("Expand", ["image", "s"], ["out"]), {"s": np.array([2, 3, 8, 8], np.int64)})
    yield "Expand rank", network(node("Expand", ["image", "s"], ["out"]), {"s": np.array([2, 1, 3, 8, 8], np.int64)})
    yield "Shape", network([node("Shape", ["image"], ["s"]), node("Cast", ["s"], ["out"], to=1)])
    yield "Shape start", network([node("Shape", ["image"], ["s"], start=1, end=-1), node("Cast", ["s"], ["out"], to=1)])
    yield "Size", network([node("Size", ["image"], ["s"]), node("Cast", ["s"], ["out"], to=1)])
    yield "ConstantOfShape", network([node("Shape", ["image"], ["s"]), node("ConstantOfShape", ["s"], ["c"]), node("Add", ["c", "image"], ["out"])])
    yield "ConstantOfShape int32", network([node("Shape", ["image"], ["s"]), node("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(np.array([1], np.int32))), node("Cast", ["c"], ["d"], to=1), node("Add", ["d", "image"], ["out"])])
    yield "ConstantOfShape uint8", network([node("Shape", ["image"], ["s"]), node("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(np.array([1], np.uint8))), node("Cast", ["c"], ["d"], to=1), node("Add", ["d", "image"], ["out"])])
    yield "Range", network([node("Range", ["a", "b", "c"], ["r"]), node("Add", ["r", "image"], ["out"])], {"a": F32(0), "b": F32(8), "c": F32(1)})
    yield "Range int64", network([node("Range", ["a", "b", "c"], ["r"]), node("Cast", ["r"], ["s"], to=1), node("Add", ["s", "image"], ["out"])], {"a": np.int64(0), "b": np.int64(8), "c": np.int64(1)})
    yield "Constant value_float", network([node("Constant", [], ["c"], value_float=2.0), node("Mul", ["image", "c"], ["out"])])
    yield "Constant value_ints", network([node("Constant", [], ["c"], value_ints=[1, -1]), node("Reshape", ["image", "c"], ["out"])])
    yield "Constant sparse", network([node("Constant", [], ["c"], sparse_value=helper.make_sparse_tensor(helper.make_tensor("v", 1, [1], [2.0]), helper.make_tensor("i", 7, [1], [0]), [8])), node("Mul", ["image", "c"], ["out"])])
    yield "Constant value_string", network([node("Constant", [], ["c"], value_string="x"), node("Relu", ["image"], ["out"])])


def windows() -> Iterator[Case]:
    for op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        for periodic in (0, 1):
            yield f"{op} {periodic}", network([node(op, ["n"], ["w"], periodic=periodic), node("Mul", ["image", "w"], ["out"])], {"n": np.int64(8)})
    yield "DFT", network(node("DFT", ["image"], ["out"], axis=1), None, (1, 8, 1))
    yield "STFT", network(node("STFT", ["image", "s", "", "l"], ["out"]), {"s": np.int64(4), "l": np.int64(8)}, (1, 32, 1))
    yield "MelWeightMatrix", network([node("MelWeightMatrix", ["a", "b", "c", "d", "e"], ["w"]), node("MatMul", ["image", "w"], ["out"])], {"a": np.int64(4), "b": np.int64(14), "c": np.int64(100), "d": F32(1), "e": F32(40)})


def controls() -> Iterator[Case]:
    def branch(name, op):
        return helper.make_graph([node(op, ["image"], [name])], name, [], [helper.make_tensor_value_info(name, 1, (1, 3, 8, 8))])
    yes, no = branch("y", "Relu"), branch("n", "Sigmoid")
    yield "If constant", network(node("If", ["c"], ["out"], then_branch=yes, else_branch=no), {"c": np.array(True)})
    yield "If computed", network([node("ReduceMax", ["image"], ["m"], keepdims=0), node("Greater", ["m", "z"], ["c"]), node("If", ["c"], ["out"], then_branch=yes, else_branch=no)], {"z": F32(0)})
    other = helper.make_graph([node("ReduceMax", ["image"], ["n"], keepdims=0)], "n", [], [helper.make_tensor_value_info("n", 1, ())])
    yield "If other shapes", network([node("ReduceMax", ["image"], ["m"], keepdims=0), node("Greater", ["m", "z"], ["c"]), node("If", ["c"], ["out"], then_branch=yes, else_branch=other)], {"z": F32(0)})
    inner = helper.make_graph([node("Frobnicate", ["image"], ["n"])], "n", [], [helper.make_tensor_value_info("n", 1, (1, 3, 8, 8))])
    yield "If unknown inside", network([node("ReduceMax", ["image"], ["m"], keepdims=0), node("Greater", ["m", "z"], ["c"]), node("If", ["c"], ["out"], then_branch=yes, else_branch=inner)], {"z": F32(0)})
    info = helper.make_tensor_value_info
    body = helper.make_graph([node("Relu", ["x"], ["x2"]), node("Identity", ["go"], ["go2"])], "b", [info("k", 7, ()), info("go", 9, ()), info("x", 1, (1, 3, 8, 8))], [info("go2", 9, ()), info("x2", 1, (1, 3, 8, 8))])
    yield "Loop counted", network(node("Loop", ["n", "t", "image"], ["out"], body=body), {"n": np.int64(3), "t": np.array(True)})
    scan = helper.make_graph([node("Add", ["st", "x"], ["st2"]), node("Identity", ["st2"], ["y"])], "b", [info("st", 1, (3,)), info("x", 1, (3,))], [info("st2", 1, (3,)), info("y", 1, (3,))])
    yield "Scan", network(node("Scan", ["i0", "image"], ["last", "out"], body=scan, num_scan_inputs=1), {"i0": np.zeros(3, F32)}, (5, 3))
    yield "Sequence", network([node("SequenceConstruct", ["image", "image"], ["q"]), node("ConcatFromSequence", ["q"], ["out"], axis=1)])
    yield "Optional", network([node("Optional", ["image"], ["o"]), node("OptionalGetElement", ["o"], ["out"])])
    yield "Attention", network(node("Attention", ["image", "image", "image"], ["out"]), None, (1, 2, 8, 4), opset=23)
    yield "RotaryEmbedding", network(node("RotaryEmbedding", ["image", "c", "s"], ["out"]), {"c": np.ones((1, 8, 2), F32), "s": np.ones((1, 8, 2), F32)}, (1, 2, 8, 4), opset=23)
    scale = {"s": F32(0.1), "z": np.int8(0)}
    yield "QuantizeLinear pair", network([node("QuantizeLinear", ["image", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]), node("Relu", ["d"], ["out"])], scale)
    yield "QuantizeLinear uint8", network([node("QuantizeLinear", ["image", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]), node("Relu", ["d"], ["out"])], {"s": F32(0.1), "z": np.uint8(0)})
    yield "QuantizeLinear int16", network([node("QuantizeLinear", ["image", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]), node("Relu", ["d"], ["out"])], {"s": F32(0.1), "z": np.int16(0)}, opset=21)
    yield "DynamicQuantizeLinear", network([node("DynamicQuantizeLinear", ["image"], ["q", "s", "z"]), node("DequantizeLinear", ["q", "s", "z"], ["out"])])


def dynamics() -> Iterator[Case]:
    yield "dynamic batch", network(node("Relu", ["image"], ["out"]), None, ("n", 3, 8, 8))
    yield "dynamic size", network(node("Relu", ["image"], ["out"]), None, (1, 3, "h", "w"))
    yield "string input", network(node("Relu", ["image"], ["out"]), dtype=T.STRING)
    foreign = network(node("Relu", ["image"], ["a"]))
    foreign.graph.node.append(node("FusedConv", ["a"], ["out"], domain="com.microsoft"))
    foreign.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    foreign.graph.output[0].name = "out"
    yield "foreign domain", foreign


def typed() -> Iterator[Case]:
    kinds = ("FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT32", "INT64", "BOOL")
    for kind in kinds:
        value = getattr(T, kind)
        dtype = helper.tensor_dtype_to_np_dtype(value)

        def made(op, extra=None, shape=(1, 3, 8, 8), **attributes):
            return f"{op} {kind}", network(node(op, ["image", *(extra or {})], ["out"], **attributes), extra, shape, dtype=value)

        for op in ("Relu", "Abs", "Neg", "Sign", "Identity", "Sigmoid", "Tanh", "Erf", "Not", "Softmax", "GlobalAveragePool", "Flatten", "Transpose", "NonZero", "Size", "Shape", "IsNaN", "HardSwish"):
            yield made(op)
        for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu", "Mod", "Equal", "Less", "And", "Mean", "Sum"):
            yield made(op, {"c": np.ones((3, 1, 1), dtype)})
        yield made("MatMul", {"c": np.ones((8, 4), dtype)})
        yield made("Gemm", {"c": np.ones((8, 4), dtype)}, (2, 8))
        yield made("Einsum", {"c": np.ones((8, 4), dtype)}, (2, 8), equation="ij,jk->ik")
        yield made("Conv", {"c": np.ones((4, 3, 3, 3), dtype)})
        yield made("MaxPool", kernel_shape=[2, 2])
        yield made("AveragePool", kernel_shape=[2, 2])
        yield made("Resize", {"r": np.zeros(0, F32), "s": np.array([1, 1, 2, 2], F32)})
        yield made("Clip", {"l": np.zeros((), dtype)})
        yield made("Pad", {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)})
        yield made("Tile", {"p": np.array([1, 1, 2, 1], np.int64)})
        yield made("Expand", {"p": np.array([2, 3, 8, 8], np.int64)})
        yield made("Gather", {"p": np.array([0, 2], np.int64)}, axis=1)
        yield made("GatherND", {"p": np.array([[0, 2]], np.int64)})
        yield made("GatherElements", {"p": np.zeros((1, 3, 8, 8), np.int64)}, axis=1)
        yield made("ScatterND", {"p": np.zeros((1, 4), np.int64), "u": np.ones(1, dtype)})
        yield made("ScatterElements", {"p": np.zeros((1, 1, 8, 8), np.int64), "u": np.ones((1, 1, 8, 8), dtype)}, axis=1)
        yield made("Slice", {"b": np.array([0], np.int64), "e": np.array([2], np.int64), "a": np.array([3], np.int64)})
        yield made("Reshape", {"p": np.array([1, -1], np.int64)})
        yield made("Squeeze", {"p": np.array([0], np.int64)})
        yield made("Unsqueeze", {"p": np.array([0], np.int64)})
        yield made("Concat", {"c": np.ones((1, 2, 8, 8), dtype)}, axis=1)
        yield made("CumSum", {"p": np.array(1, np.int64)})
        yield made("Trilu")
        yield made("DepthToSpace", None, (1, 12, 4, 4), blocksize=2)
        yield made("SpaceToDepth", blocksize=2)
        yield made("OneHot", {"d": np.array(4, np.int64), "v": np.array([0, 1], F32)}, (2, 3))
        yield made("EyeLike", None, (4, 4))
        for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"):
            yield made(op, {"p": np.array([1], np.int64)})
        for op in ("ArgMax", "ArgMin"):
            yield made(op, axis=1)
        yield f"TopK {kind}", network(node("TopK", ["image", "k"], ["out", "i"]), {"k": np.array([2], np.int64)}, dtype=value)
        yield f"Where {kind}", network([node("Equal", ["image", "z"], ["c"]), node("Where", ["c", "image", "z"], ["out"])], {"z": np.zeros((), dtype)}, dtype=value)
        yield f"BatchNormalization {kind}", network(node("BatchNormalization", ["image", *"sbmv"], ["out"]), {n: np.ones(3, dtype) for n in "sbmv"}, dtype=value)
