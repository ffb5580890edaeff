from types import SimpleNamespace

import numpy as np

from jetseg.engine.lending import Lending


def lending():
    return Lending(*(SimpleNamespace(host=np.zeros((2, 3), np.float32)) for _ in range(2)))


def written(outputs, value):
    outputs.choose().host[...] = value
    return outputs.lend()


def test_what_is_held_is_never_written_to():
    outputs = lending()
    held = [written(outputs, value) for value in range(5)]
    assert [output.tolist() for output in held] == [np.full((2, 3), value).tolist() for value in range(5)]


def test_what_is_let_go_of_is_lent_again_without_a_copy():
    outputs = lending()
    memory = {written(outputs, value).ctypes.data for value in range(5)}
    assert memory == {outputs.target.host.ctypes.data}


def test_a_view_of_a_view_holds_the_memory():
    outputs = lending()
    row = written(outputs, 7)[1:][0]
    for value in range(4):
        written(outputs, value)
    assert row.tolist() == [7, 7, 7]


def test_a_reader_that_lets_go_meanwhile_changes_nothing():
    outputs = lending()
    held = [written(outputs, 1)]
    target = outputs.choose()
    held.clear()
    target.host[...] = 2
    assert outputs.target is target
    assert outputs.lend().tolist() == np.full((2, 3), 2).tolist()
