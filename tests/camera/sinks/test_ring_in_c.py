"""The C header of the ring, compiled and run against a ring that Python writes."""

import shutil
import struct
import subprocess
import uuid
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from jetseg.camera.contract import FrameResult, SourceFrame
from jetseg.camera.sinks.ring import SHARED_MEMORY, RingWriter, c_header

PROGRAM = Path(__file__).with_name("ring_reader.c")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-pthread"]
pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a compiler: apt-get install gcc libc6-dev"),
    pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="this system has no /dev/shm"),
]


def compiled(folder, *options, compiler="gcc", language="-xc"):
    (folder / "jetseg_ring.h").write_text(c_header())
    program = folder / "ring_reader"
    command = [compiler, language, PROGRAM, "-I", folder, *STRICT, *options, "-o", program]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in built.stderr and options:
        pytest.skip("this compiler has no sanitizer")
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture
def name():
    name = f"jetseg-test-{uuid.uuid4().hex}"
    yield name
    (SHARED_MEMORY / name).unlink(missing_ok=True)


def write_until(ended, name, ready):
    writer = RingWriter(name, 120 * 161)
    pictures = [np.full((120, 161), value, np.uint8) for value in range(251)]
    index = 0
    while not ended.is_set():
        ids = pictures[index % 251]
        writer.write(FrameResult(SourceFrame(index, "", 0.0, ids), ids, 0.0, None, None))
        index += 1
        ready.set()
    writer.close()


@pytest.mark.parametrize("options", [[], ["-g", "-fsanitize=thread"], ["-g", "-fsanitize=address,undefined"]])
def test_a_c_program_reads_a_thousand_whole_class_maps_while_the_writer_runs_at_full_speed(tmp_path, name, options):
    program = compiled(tmp_path, *options)
    ended, ready = Event(), Event()
    writer = Thread(target=write_until, args=(ended, name, ready))
    writer.start()
    try:
        assert ready.wait(20)
        found = subprocess.run([program, name, "1000"], capture_output=True, text=True, check=False, timeout=60)
    finally:
        ended.set()
        writer.join()
    if "unexpected memory mapping" in found.stderr:
        pytest.skip("the sanitizer does not run on this kernel")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == "1000 1000\n"


def test_a_cpp_compiler_takes_the_header(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs a compiler: apt-get install g++")
    compiled(tmp_path, "-c", compiler="g++", language="-xc++")


def test_what_is_no_ring_is_refused(tmp_path, name):
    program = compiled(tmp_path)

    def opened():
        return subprocess.run([program, name, "1"], capture_output=True, text=True, check=False).stdout

    assert opened() == "-1\n"
    for content in (b"", b"JETSEGCM", b"x" * 500, struct.pack("<8s4I", b"JETSEGCM", 2, 4, 128, 0) + bytes(1000)):
        (SHARED_MEMORY / name).write_bytes(content)
        assert opened() == "-2\n"
    (SHARED_MEMORY / name).write_bytes(struct.pack("<8s4I", b"JETSEGCM", 1, 4, 1 << 20, 0) + bytes(1000))
    assert opened() == "-2\n", "its slots lie beyond its end"
