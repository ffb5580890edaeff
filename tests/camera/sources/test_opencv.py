import cv2

from jetseg.camera.sources.opencv import known_properties


def test_an_older_opencv_gets_only_the_properties_that_it_has(monkeypatch):
    monkeypatch.delattr(cv2, "CAP_PROP_N_THREADS")
    assert known_properties(CAP_PROP_N_THREADS=1, CAP_PROP_BUFFERSIZE=2) == [cv2.CAP_PROP_BUFFERSIZE, 2]
    assert known_properties(CAP_PROP_N_THREADS=1) == []
