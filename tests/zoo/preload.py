"""Imports what steps need, once; they are forked from the process that did."""

import onnxruntime  # noqa: F401
import onnxscript  # noqa: F401
import torch.onnx  # noqa: F401
import torch_pruning  # noqa: F401

import jetseg.cli.main
import jetseg.compress.prune
import jetseg.exporters.onnx_export
import jetseg.training.loop
import jetseg.workflows.building
import jetseg.workflows.calibration  # noqa: F401
from zoo import libraries

libraries.timm()
libraries.smp()
libraries.transformers()
