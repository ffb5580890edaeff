import platform
import sys
from threading import Thread

import numpy as np
import pytest
from onnx import TensorProto, helper

from jetseg.onnx.session import make_session, run_session
from jetseg.onnx.subnormals import zero_subnormals

LEAST = np.float32(np.finfo(np.float32).tiny)
linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="elsewhere nothing changes"
)


def half(values):
    return values * np.float32(0.5)


@linux
def test_inside_they_are_zero_and_outside_they_are_not():
    values = np.full(4, LEAST)
    with zero_subnormals():
        assert not half(values).any()
    assert half(values).all()
    with pytest.raises(ValueError, match="inside"), zero_subnormals():
        raise ValueError("inside")
    assert half(values).all()


@linux
@pytest.mark.parametrize("threads", [1, 2])
def test_networks_compute_without_them_in_every_thread_and_leave_the_thread_as_it_was(threads):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1 << 20]) for name in "xy"]
    node = helper.make_node("Mul", ["x", "x"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], "square", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    found = []

    def run():
        session = make_session(model.SerializeToString(), threads=threads)
        values = np.full(1 << 20, 1e-20, np.float32)
        values[-1] = 2
        found.append((run_session(session, ["y"], {"x": values})[0], half(np.full(4, LEAST))))

    thread = Thread(target=run)
    thread.start()
    thread.join()
    run()
    for squares, halves in found:
        assert not squares[:-1].any()
        assert squares[-1] == 4
        assert halves.all()
