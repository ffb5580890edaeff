"""Answers torch's questions about a GPU on a machine without one, so that torch-tensorrt can be imported and converts.

Everything that makes a plan is real: torch.export, lowering, converters, NVIDIA's builder. Nothing is run, no plan is
opened, and `torch.cuda.is_available()` stays False, which keeps torch from the driver.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

LABEL = "no GPU (sm_86)"
_MEMORY = 8 << 30
_ANSWERS = {
    "get_device_capability": (8, 6),
    "get_device_name": "no GPU",
    "get_device_properties": SimpleNamespace(
        major=8, minor=6, name="no GPU", total_memory=_MEMORY, multi_processor_count=16
    ),
    "current_device": 0,
    "device_count": 1,
    "set_device": None,
    "synchronize": None,
    "empty_cache": None,
    "mem_get_info": (_MEMORY, _MEMORY),
}


def answer_for_a_gpu(patch: pytest.MonkeyPatch) -> None:
    """Replaces what torch asks of the driver, before torch-tensorrt is imported, until the patch is undone."""
    import torch

    for name, answer in _ANSWERS.items():
        patch.setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
