"""Which precisions a GPU computes in."""

from __future__ import annotations

_FIRST_WITH = {"bf16": (8, 0), "fp8": (8, 9)}
"""The first compute capability with a precision, as NVIDIA's support matrices of TensorRT and TensorRT-RTX list them:
8.6 with bfloat16 and without FP8, 8.9 and 12.0 with both; DRIVE OS 7.0.3 lists Thor with both. Orin's is 8.7."""


def lacks(compute_capability: str, precision: str) -> str | None:
    """Says why a GPU cannot compute in a precision; None if it can.

    Args:
        compute_capability: Of the GPU, as in "8.7".
        precision: As in "fp8"; integers and other floats are on every GPU that jetseg builds for.

    >>> lacks("8.7", "fp8")
    'a GPU of compute capability 8.7 has no fp8, which begins with 8.9'
    >>> lacks("11.0", "fp8") is None
    True
    """
    first = _FIRST_WITH.get(precision, (0, 0))
    if tuple(int(part) for part in compute_capability.split(".")) >= first:
        return None
    begins = ".".join(map(str, first))
    return f"a GPU of compute capability {compute_capability} has no {precision}, which begins with {begins}"
