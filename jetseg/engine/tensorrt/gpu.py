"""The one place that touches CUDA: the driver's probe, the GPU's context, memory, streams and copies, by pycuda."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from jetseg.errors import DeviceError, MissingDependencyError

_RELEASE_FILE = Path("/etc/nv_tegra_release")


@dataclass(frozen=True)
class GpuFacts:
    """What a plan depends on.

    Attributes:
        name: As the driver says, as in "Orin".
        compute_capability: Major and minor, as in (8, 7).
        cuda: Version of CUDA that the driver offers, as in "12.6".
    """

    name: str
    compute_capability: tuple[int, int]
    cuda: str

    @property
    def label(self) -> str:
        """Name and architecture, as manifests record them.

        >>> GpuFacts("Orin", (8, 7), "12.6").label
        'Orin (sm_87)'
        """
        major, minor = self.compute_capability
        return f"{self.name} (sm_{major}{minor})"


def probe_driver() -> None:
    """Asks the driver whether there is a GPU. Without one, making a TensorRT object may crash the process.

    Raises:
        DeviceError: There is no driver, it does not answer, or it has no GPU.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError(
            "This machine has no NVIDIA driver: libcuda.so.1 is not found.",
            "Run on the Jetson itself; in a container, start it with --runtime nvidia. Elsewhere, use "
            "`backend` onnxruntime.",
        ) from error
    status, count = driver.cuInit(0), ctypes.c_int(0)
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        raise DeviceError(
            f"The NVIDIA driver does not answer (CUDA error {status}).",
            "Check `nvidia-smi` (on a Jetson `tegrastats`), and the device files in /dev that a container is given.",
        )
    if count.value == 0:
        raise DeviceError("The NVIDIA driver sees no GPU.", "Check CUDA_VISIBLE_DEVICES and the container's devices.")


def release() -> str | None:
    """Returns the first line that Jetson Linux says about its release, or None elsewhere."""
    if not _RELEASE_FILE.is_file():
        return None
    return _RELEASE_FILE.read_text(errors="replace").splitlines()[0].lstrip("# ").strip()


class Gpu:
    """The first GPU, with the context that TensorRT uses too. Any thread may use it, within `active`.

    Raises:
        DeviceError: There is no GPU, or CUDA fails.
        MissingDependencyError: pycuda is not installed.
    """

    def __init__(self) -> None:
        probe_driver()
        self._cuda = load_pycuda()
        try:
            self._cuda.init()
            device = self._cuda.Device(0)
            version = self._cuda.get_driver_version()
            self.facts = GpuFacts(
                device.name(), tuple(device.compute_capability()), f"{version // 1000}.{version % 1000 // 10}"
            )
            self._context: Any = device.retain_primary_context()
        except self._cuda.Error as error:
            raise _failed(error) from error

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the GPU's context current in this thread; a CUDA error inside becomes a `DeviceError`."""
        if self._context is None:
            raise DeviceError("The GPU was closed.")
        try:
            self._context.push()
            try:
                yield
            finally:
                self._pop()
        except self._cuda.Error as error:
            raise _failed(error) from error

    def free_bytes(self) -> int:
        """Returns the memory that is free; on a Jetson, processor and GPU share it."""
        free, _total = self._cuda.mem_get_info()
        return int(free)

    def device_memory(self, size_bytes: int) -> Any:  # noqa: ANN401 - pycuda's
        """Allocates memory on the device; `int(...)` is its address, `free()` frees it."""
        return self._cuda.mem_alloc(size_bytes)

    def upload(self, memory: Any, array: npt.NDArray[Any]) -> None:  # noqa: ANN401
        """Copies an array to the device."""
        self._cuda.memcpy_htod(memory, array)

    def stream(self) -> Stream:
        """Makes a stream."""
        return Stream(self._cuda)

    def buffer(self, shape: tuple[int, ...], dtype: npt.DTypeLike, *, mapped: bool) -> Buffer:
        """Allocates memory that an engine reads or writes."""
        return Buffer(self._cuda, shape, np.dtype(dtype), mapped=mapped)

    def close(self) -> None:
        """Gives the context back. May be called twice."""
        if self._context is not None:
            self._context.detach()
            self._context = None

    def _pop(self) -> None:
        try:
            self._cuda.Context.pop()
        except self._cuda.Error:
            with suppress(self._cuda.Error):  # pycuda aborts a process whose thread ends with a context
                self._cuda.Context.pop()
            raise


class Stream:
    """A queue of the device. What it wraps is freed by `free`, even where an error's traceback still holds this."""

    def __init__(self, cuda: ModuleType) -> None:
        self._stream: Any = cuda.Stream()

    @property
    def handle(self) -> int:
        """What TensorRT knows it by."""
        return int(self._stream.handle)

    def synchronize(self) -> None:
        """Waits until all is done that was queued."""
        self._stream.synchronize()

    def free(self) -> None:
        """Frees it, while the context is active. May be called twice."""
        self._stream = None


class Buffer:
    """One tensor's memory, pinned on the host: mapped for the device, or with a copy there.

    Attributes:
        host: The host's part, an array that nobody may read after `free`.
        address: The device's address of the part that the engine uses.
    """

    def __init__(self, cuda: ModuleType, shape: tuple[int, ...], dtype: np.dtype[Any], *, mapped: bool) -> None:
        self._cuda, self._device = cuda, None
        flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        self.host: npt.NDArray[Any] = cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
        try:
            if not mapped:
                self._device = cuda.mem_alloc(self.host.nbytes)
            self.address = int(self.host.base.get_device_pointer() if self._device is None else self._device)
        except BaseException:
            self.free()
            raise

    def upload(self, stream: Stream) -> None:
        """Queues the copy to the device, if there is one."""
        if self._device is not None:
            self._cuda.memcpy_htod_async(self._device, self.host, stream._stream)

    def download(self, stream: Stream) -> None:
        """Queues the copy from the device, if there is one."""
        if self._device is not None:
            self._cuda.memcpy_dtoh_async(self.host, self._device, stream._stream)

    def free(self) -> None:
        """Frees both parts, while the context is active; the array may live on in an error's traceback, unread."""
        if self._device is not None:
            self._device.free()
        self.host.base.free()  # type: ignore[union-attr]


def load_pycuda() -> ModuleType:
    """Imports pycuda, which needs the driver.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module("pycuda.driver")
    except (ImportError, OSError) as error:
        raise MissingDependencyError("pycuda", "tensorrt", "moves frames to and from the GPU") from error


def _failed(error: Exception) -> DeviceError:
    return DeviceError(
        f"CUDA failed: {str(error).strip().rstrip('.')}.",
        "If memory is short, close other programs; `sudo dmesg` shows what the driver says.",
    )
