import os
import struct
import subprocess
import sys
import uuid

import numpy as np
import pytest
from results import result

from jetseg.camera.sinks.ring import SHARED_MEMORY, RingReader, RingWriter
from jetseg.errors import ConfigError, DataError, DeviceError

shared_memory = pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="this system has no /dev/shm")


@pytest.fixture
def name():
    name = f"jetseg-test-{uuid.uuid4().hex}"
    yield name
    (SHARED_MEMORY / name).unlink(missing_ok=True)


@shared_memory
def test_another_process_reads_the_newest_class_map(name):
    writer = RingWriter(name, 48 * 64)
    for index in range(7):
        writer.write(result(index))
    code = (
        "import sys; from jetseg.camera.sinks.ring import RingReader\n"
        "frame = RingReader(sys.argv[1]).newest()\n"
        "print(frame.number, frame.sequence, frame.class_map_hw_u8.tobytes().hex())"
    )
    read = subprocess.run([sys.executable, "-c", code, name], check=True, capture_output=True, text=True)
    number, sequence, ids = read.stdout.split()
    assert (int(number), int(sequence)) == (6, 6)
    assert bytes.fromhex(ids) == result(6).class_map_hw_u8.tobytes()
    writer.close()
    assert not (SHARED_MEMORY / name).exists()


@shared_memory
def test_reader_never_gets_half_a_class_map_while_another_process_writes(name):
    """Every class map is of one id all over, so any mixture shows."""
    code = (
        "import sys, time, numpy as np\n"
        "from jetseg.camera.contract import FrameResult, SourceFrame\n"
        "from jetseg.camera.sinks.ring import RingWriter\n"
        "writer = RingWriter(sys.argv[1], 200 * 300, slots=2)\n"
        "print('ready', flush=True)\n"
        "until = time.perf_counter() + 1.5\n"
        "index = 0\n"
        "while time.perf_counter() < until:\n"
        "    ids = np.full((200, 300), index % 251, np.uint8)\n"
        "    writer.write(FrameResult(SourceFrame(index, '', 0.0, ids), ids, 0.0, None, None))\n"
        "    index += 1\n"
        "writer.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        reader, seen = RingReader(name), []
        assert not reader.ended
        while not reader.ended:
            if (frame := reader.newest()) is not None:
                assert np.all(frame.class_map_hw_u8 == frame.sequence % 251)
                seen.append(frame.sequence)
        reader.close()
    assert len(set(seen)) > 3
    assert seen == sorted(seen)


@shared_memory
def test_half_written_slot_is_not_given(name):
    writer, reader = RingWriter(name, 48 * 64), RingReader(name)
    assert reader.newest() is None
    writer.write(result(0))
    assert reader.newest().sequence == 0
    writer._memory[64 + 64 + 100] ^= 1  # a byte of the ids, as if the writer was still at it
    assert reader.newest() is None
    writer._memory[64 + 64 + 100] ^= 1
    assert reader.newest().sequence == 0
    writer._memory[64 + 8] ^= 1  # a byte of the sequence number, as if the header was of another frame than the ids
    assert reader.newest() is None
    writer.close()
    assert reader.ended


@shared_memory
def test_ring_of_a_killed_process_is_replaced_and_that_of_a_living_one_is_not(name):
    writer = RingWriter(name, 100)
    code = "import sys; from jetseg.camera.sinks.ring import RingWriter; RingWriter(sys.argv[1], 100)"
    refused = subprocess.run([sys.executable, "-c", code, name], check=False, capture_output=True, text=True)
    assert "already writes to" in refused.stderr
    writer.close()
    killed = code + "; import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", killed, name], check=False)
    orphan = RingReader(name)
    assert orphan.ended
    RingWriter(name, 100).close()


@shared_memory
def test_ring_of_a_dead_run_does_not_block_though_its_process_id_lives_again(name):
    """In a container every run has the same small numbers."""
    writer = RingWriter(name, 100)
    writer.write(result(0, 8, 8))
    dead = (SHARED_MEMORY / name).read_bytes()
    writer.close()
    (SHARED_MEMORY / name).write_bytes(dead[:20] + struct.pack("<I", os.getppid()) + dead[24:])
    reader = RingReader(name)
    assert reader.ended
    assert reader.newest().sequence == 0
    successor = RingWriter(name, 100)
    assert not RingReader(name).ended
    assert reader.ended
    with pytest.raises(ConfigError, match=rf"Process {os.getpid()} already writes to"):
        RingWriter(name, 100)
    successor.close()


@shared_memory
def test_leftovers_of_a_run_that_was_killed_while_it_made_its_ring_go(name):
    left = SHARED_MEMORY / f".{name}.abcd1234.part"
    left.write_bytes(bytes(100))
    writer = RingWriter(name, 100)
    assert not left.exists()
    assert (SHARED_MEMORY / name).stat().st_mode & 0o777 == 0o644
    writer.close()


@shared_memory
def test_mistakes_about_rings_say_what_to_do(name):
    with pytest.raises(ConfigError, match="is no name"):
        RingWriter("../etc/passwd", 100)
    with pytest.raises(DeviceError, match="There is no ring"):
        RingReader(name)
    (SHARED_MEMORY / name).write_bytes(b"something else" * 20)
    with pytest.raises(DataError, match="is no ring"):
        RingReader(name)
    with pytest.raises(ConfigError, match="is no ring of jetseg"):
        RingWriter(name, 100)
    (SHARED_MEMORY / name).unlink()
    writer = RingWriter(name, 100)
    with pytest.raises(DataError, match="does not fit"):
        writer.write(result(0))
    writer.close()
