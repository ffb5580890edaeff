"""A double of `pycuda.driver`: memory is numpy's, and what a stream was given happens when it is synchronized."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np


def make_cuda(double: Any) -> ModuleType:  # noqa: C901 - many small classes
    """Makes the double of `pycuda.driver`."""
    cuda = ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    def step(name: str) -> None:
        if name not in ("init", "retain_primary_context", "push") and not getattr(double.current, "depth", 0):
            raise Error(f"{name} failed: invalid device context")
        if not double.happened(name):
            raise Error(f"{name} failed: out of memory")

    class Context:
        def push(self):
            step("push")
            double.current.depth = getattr(double.current, "depth", 0) + 1

        @staticmethod
        def pop():
            double.current.depth -= 1

        def detach(self):
            double.happened("detach")
            double.contexts -= 1

    class Device:
        def __init__(self, index):
            assert index == 0

        def name(self):
            return "Double GPU"

        def compute_capability(self):
            return (8, 7)

        def retain_primary_context(self):
            step("retain_primary_context")
            double.contexts += 1
            return Context()

    class Stream:
        def __init__(self):
            step("Stream")
            self.queue = []
            self.handle = id(self)
            streams[self.handle] = self

        def synchronize(self):
            step("synchronize")
            while self.queue:
                self.queue.pop(0)()

    class DeviceAllocation:
        def __init__(self, size):
            self.array = np.zeros(size, np.uint8)
            self.address = self.array.ctypes.data
            double.memory[self.address] = self.array

        def __int__(self):
            return self.address

        def free(self):
            step("free")
            del double.memory[self.address]

    def mem_alloc(size):
        step("mem_alloc")
        return DeviceAllocation(size)

    class PinnedArray(np.ndarray):
        """Host memory that copies read beside the processor; `base` is what pycuda calls its allocation."""

    class PagelockedHostAllocation(np.ndarray):
        def get_device_pointer(self):
            step("get_device_pointer")
            address = self.ctypes.data
            assert address in double.memory, "the memory is not this driver's"
            return address

        def free(self):
            step("free")
            del double.memory[self.ctypes.data]

    def pagelocked_empty(shape, dtype, mem_flags=0):
        step("pagelocked_empty")
        memory = np.empty(int(np.prod(shape)) * np.dtype(dtype).itemsize, np.uint8).view(PagelockedHostAllocation)
        double.memory[memory.ctypes.data] = memory.view(np.ndarray)
        return PinnedArray(shape, dtype, buffer=memory)

    class host_alloc_flags:  # noqa: N801 - pycuda's name
        DEVICEMAP = 2

    def memcpy_htod(memory, array):
        step("memcpy_htod")
        double.memory[int(memory)][:] = np.frombuffer(array.tobytes(), np.uint8)

    def memcpy_htod_async(memory, array, stream):
        step("memcpy_htod_async")
        stream.queue.append(lambda: memcpy_to(memory, array))

    def memcpy_to(memory, array):
        double.memory[int(memory)][:] = np.frombuffer(array.tobytes(), np.uint8)

    def memcpy_dtoh_async(array, memory, stream):
        step("memcpy_dtoh_async")
        stream.queue.append(
            lambda: array.reshape(-1).view(np.uint8).__setitem__(slice(None), double.memory[int(memory)])
        )

    def mem_get_info():
        step("mem_get_info")
        return double.free_bytes, 8 << 30

    streams: dict[int, Stream] = {}
    double.streams = streams
    for item in (
        Error,
        Context,
        Device,
        host_alloc_flags,
        Stream,
        mem_alloc,
        pagelocked_empty,
        memcpy_htod,
        mem_get_info,
    ):
        setattr(cuda, item.__name__, item)
    cuda.memcpy_htod_async, cuda.memcpy_dtoh_async = memcpy_htod_async, memcpy_dtoh_async
    cuda.init = lambda: step("init")
    cuda.get_driver_version = lambda: 12060
    return cuda
