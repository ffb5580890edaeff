"""OpenCV's DNN module as a backend for float engines."""

import cv2

from jetseg.engine.backend import Backend, BuildReport, Candidate


class OpenCV(Backend):
    """Runs float ONNX files with cv2.dnn."""

    suffix = ".cv.onnx"
    candidates = (Candidate("fp32", "fp32"),)

    def build(self, request):
        """An engine of this backend is the ONNX file itself."""
        request.destination.write_bytes(request.network.path.read_bytes())
        return BuildReport()

    def open(self, network, threads=None):
        """Reads the file."""
        del threads
        return _Runner(network)


class _Runner:
    def __init__(self, network):
        self.manifest = network.manifest
        self._net = cv2.dnn.readNetFromONNX(str(network.path))

    def infer(self, network_input):
        self._net.setInput(network_input)
        return self._net.forward()

    def close(self):
        pass
