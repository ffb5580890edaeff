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
        """Reads the file; what is opened is of this class, too."""
        del threads
        opened = OpenCV()
        opened.manifest = network.manifest
        opened.net = cv2.dnn.readNetFromONNX(str(network.path))
        return opened

    def infer(self, network_input):
        """Runs the network."""
        self.net.setInput(network_input)
        return self.net.forward()

    def close(self):
        """Leaves the memory to Python."""
