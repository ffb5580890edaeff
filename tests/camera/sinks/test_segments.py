import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from results import frames_in, result

from jetseg.camera.sinks.background import in_background
from jetseg.camera.sinks.segments import SegmentedRecording
from jetseg.errors import MissingDependencyError, StorageError
from jetseg.locking import hold
from jetseg.monitor.events import EventLog

pytest.importorskip("av", reason="PyAV (extra `record`) is not installed")
HERE = Path(__file__).parent


def segments(folder):
    return sorted(folder.glob("*.mp4"))


def test_segments_hold_every_frame(tmp_path):
    recording = SegmentedRecording(tmp_path / "new" / "folder", segment_seconds=1.0)
    for index in range(60):
        recording.write(result(index))
    recording.close()
    assert [frames_in(path) for path in segments(tmp_path / "new" / "folder")] == [25, 25, 10]


def test_video_plays_in_real_time_although_frames_are_missing(tmp_path):
    recording = SegmentedRecording(tmp_path)
    for index in (0, 1, 2, 30, 31, 75):
        recording.write(result(index))
    recording.close()
    import av

    with av.open(str(segments(tmp_path)[0])) as video:
        moments = [float(frame.time) for frame in video.decode(video=0)]
    assert moments == pytest.approx([index / 25 for index in (0, 1, 2, 30, 31, 75)], abs=1e-3)


def test_recording_of_a_file_keeps_the_times_of_the_file(tmp_path):
    recording = SegmentedRecording(tmp_path)
    moments = [0.0, 0.1, 0.7, 2.1]
    for index, moment in enumerate(moments):
        ready = result(index)
        recording.write(replace(ready, frame=replace(ready.frame, captured_at=77.0 + index, shown_at=moment)))
    recording.close()
    import av

    with av.open(str(segments(tmp_path)[0])) as video:
        assert [float(frame.time) for frame in video.decode(video=0)] == pytest.approx(moments, abs=1e-3)


def test_other_size_begins_another_segment_and_odd_sizes_lose_a_column(tmp_path):
    recording = SegmentedRecording(tmp_path)
    for index, size in enumerate([(48, 64)] * 3 + [(47, 65)] * 2):
        recording.write(result(index, *size))
    recording.close()
    assert [frames_in(path) for path in segments(tmp_path)] == [3, 2]


def test_oldest_segments_make_room(tmp_path):
    recording = SegmentedRecording(tmp_path, segment_seconds=1.0, limit_bytes=60_000)
    for index in range(200):
        recording.write(result(index))
    recording.close()
    left = segments(tmp_path)
    assert 1 <= len(left) < 8
    assert sum(path.stat().st_size for path in left[:-1]) <= 60_000
    assert frames_in(left[-1]) == 25


def drive(folder, seconds, events=None, **limits):
    recording = SegmentedRecording(folder, segment_seconds=1.0, events=events, **limits)
    for index in range(25 * seconds):
        recording.write(result(index))
    recording.close()


def test_newest_drive_is_kept_though_the_clock_was_ahead_before(tmp_path, monkeypatch):
    """A vehicle without a battery for its clock: 2040 before it had a fix, then 2026."""
    monkeypatch.setattr("time.time", lambda: 2.2e9)
    drive(tmp_path, 2)
    ahead = set(segments(tmp_path))
    monkeypatch.setattr("time.time", lambda: 1.78e9)
    drive(tmp_path, 2)
    newer = sorted(set(segments(tmp_path)) - ahead)
    drive(tmp_path, 1, limit_bytes=sum(path.stat().st_size for path in newer))
    *kept, newest = segments(tmp_path)
    assert kept == newer
    assert newest.name == "segment-00000005-20260528T202640.000Z.mp4"


def test_recordings_of_versions_that_did_not_count_are_the_oldest(tmp_path):
    drive(tmp_path, 1)
    counted = segments(tmp_path)
    old = tmp_path / "segment-20990101T000000.000Z.mp4"
    old.write_bytes(bytes(10_000_000))
    (tmp_path / "segment-of-somebody.mp4").write_bytes(bytes(100))
    drive(tmp_path, 1, limit_bytes=1_000_000)
    assert not old.exists()
    assert counted[0].exists()
    assert (tmp_path / "segment-of-somebody.mp4").exists()
    assert len(segments(tmp_path)) == 3


def test_deleted_folder_comes_back_with_an_event(tmp_path):
    events = EventLog()
    recording = SegmentedRecording(tmp_path / "a" / "drives", events=events)
    for index in range(75):
        if index == 30:
            shutil.rmtree(tmp_path / "a")
        recording.write(result(index))
    recording.close()
    assert [(event.kind, event.severity) for event in events.recent()] == [("recording-deleted", "warning")]
    assert [frames_in(path) for path in segments(tmp_path / "a" / "drives")] == [45]


def test_what_a_run_left_that_was_killed_before_its_first_picture_goes(tmp_path):
    drive(tmp_path, 1)
    whole = segments(tmp_path)[0]
    for number, length in enumerate((0, 500, 2000), 2):
        half = tmp_path / f"segment-{number:08}-20260101T000000.000Z.mp4"
        half.write_bytes(whole.read_bytes()[:length])
        SegmentedRecording(tmp_path).close()
        assert segments(tmp_path) == [whole]
    with half.open("wb") as file:
        assert hold(file.fileno())  # by a run that lives
        SegmentedRecording(tmp_path).close()
        assert half.exists()


def test_kill_leaves_all_but_the_last_second(tmp_path):
    code = (
        "import sys, os, signal; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/..']\n"
        "from pathlib import Path\nfrom results import result\n"
        "from jetseg.camera.sinks.segments import SegmentedRecording\n"
        "recording = SegmentedRecording(Path(sys.argv[2]), segment_seconds=2.0)\n"
        "for index in range(90):\n    recording.write(result(index))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(HERE), str(tmp_path)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    counts = [frames_in(path) for path in segments(tmp_path)]
    assert counts[0] == 50
    assert counts[1] >= 90 - 50 - 25


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on file sizes works like this on Linux")
def test_write_that_the_system_refuses_is_an_event_and_the_loop_goes_on(tmp_path):
    """RLIMIT_FSIZE stands for the full disk: the same failing write, with EFBIG for ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    events = EventLog()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        with in_background(SegmentedRecording(tmp_path), events, live=False) as sink:
            for index in range(300):
                sink.write(result(index))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [event.kind for event in events.recent()] == ["recording-stopped"]
    assert events.recent()[0].severity == "alarm"
    assert frames_in(segments(tmp_path)[0]) >= 25


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="a small file system needs root on Linux")
def test_full_disk_is_an_event_and_the_loop_goes_on(tmp_path, monkeypatch):
    """A real file system of half a megabyte; the check of free space before a segment is taken out."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("this container may not mount")
    events = EventLog()
    try:
        with in_background(SegmentedRecording(tmp_path), events, live=False) as sink:
            for index in range(600):
                sink.write(result(index))
        assert [event.kind for event in events.recent()] == ["recording-stopped"]
        assert os.strerror(errno.ENOSPC) in events.recent()[0].text
        assert frames_in(segments(tmp_path)[0]) >= 25
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_full_and_read_only_disks_are_events_that_say_so(tmp_path, monkeypatch, number):
    def refuse(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    events = EventLog()
    with in_background(SegmentedRecording(tmp_path), events, live=False) as sink:
        monkeypatch.setattr("jetseg.camera.sinks.segments._Segment", refuse)
        sink.write(result(0))
    assert [event.text for event in events.recent()] == [
        f"The recording stopped: {tmp_path} could not be written: {os.strerror(number)}. "
        "Free some space or give another place; files that were there before are unchanged."
    ]


def test_space_for_the_vehicle_is_left(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(1000))
    with pytest.raises(StorageError, match="No space left"):
        SegmentedRecording(tmp_path).write(result(0))
    assert not segments(tmp_path)


def test_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"\[record\]"):
        SegmentedRecording(tmp_path)
