"""Memory that an engine reads and writes."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from jetseg.engine.tensorrt.gpu import Gpu


class Buffer:
    """One tensor's memory, pinned on the host: mapped for the device, or with a copy there."""

    def __init__(self, gpu: Gpu, shape: tuple[int, ...], dtype: npt.DTypeLike, *, mapped: bool) -> None:
        self._gpu = gpu
        self.host = gpu.host_array(shape, dtype, mapped=mapped)
        self._device: Any = None if mapped else gpu.device_memory(self.host.nbytes)
        self.address: int = gpu.mapped_address(self.host) if self._device is None else int(self._device)

    def upload(self, stream: Any) -> None:  # noqa: ANN401
        """Queues the copy to the device, if there is one."""
        if self._device is not None:
            self._gpu.upload(self._device, self.host, stream)

    def download(self, stream: Any) -> None:  # noqa: ANN401
        """Queues the copy from the device, if there is one."""
        if self._device is not None:
            self._gpu.download(self.host, self._device, stream)

    def free(self) -> None:
        """Frees the device's part; the host's goes with the array."""
        if self._device is not None:
            self._device.free()
