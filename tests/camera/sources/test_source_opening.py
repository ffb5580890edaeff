import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from jetseg.camera.sources.dataset import DatasetSource
from jetseg.camera.sources.opening import open_source
from jetseg.errors import ConfigError, DataError, DeviceError


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def picture(level):
    return np.full((32, 48, 3), level, np.uint8)


def frames_of(source):
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def write_video(path, count):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (48, 32))
    for index in range(count):
        writer.write(picture(index * 20))
    writer.release()


def test_video_file_gives_every_frame(tmp_path):
    write_video(tmp_path / "drive.mp4", 12)
    source = open_source(str(tmp_path / "drive.mp4"))
    assert (source.live, source.frames_per_second, source.size_hw) == (False, 20.0, (32, 48))
    frames = frames_of(source)
    assert [frame.sequence for frame in frames] == list(range(12))
    assert [round(frame.image_hwc_u8.mean() / 20) for frame in frames] == list(range(12))


def test_video_whose_header_tells_no_length_gives_every_frame(tmp_path):
    path = tmp_path / "stream.mjpeg"
    path.write_bytes(b"".join(cv2.imencode(".jpg", picture(index * 20))[1].tobytes() for index in range(9)))
    assert len(frames_of(open_source(str(path)))) == 9


def test_video_that_ends_early_says_so(tmp_path, caplog):
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (48, 32))
    for _ in range(40):
        writer.write(np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert 0 < len(frames_of(open_source(str(path)))) < 40
    assert "promises 40 frames" in caplog.text


@pytest.mark.parametrize("name", ["bad.mp4", "empty.mp4", "notes.txt"])
def test_file_that_is_no_video_is_an_input_error(tmp_path, name, capfd):
    (tmp_path / name).write_bytes(b"" if name == "empty.mp4" else b"no video here " * 99)
    with pytest.raises(DataError, match="is not a video") as caught:
        open_source(str(tmp_path / name))
    assert caught.value.exit_code == 2
    assert capfd.readouterr().err == ""


def test_absent_camera_is_a_device_error(capfd):
    with pytest.raises(DeviceError, match="camera devices here: ") as caught:
        open_source("97")
    assert caught.value.exit_code == 3
    assert capfd.readouterr().err == ""


def test_stream_that_does_not_answer_is_a_device_error():
    with pytest.raises(DeviceError, match=r"rtsp://127\.0\.0\.1:9/"):
        open_source("rtsp://127.0.0.1:9/front")


def test_video_on_a_web_server_gives_every_frame(tmp_path):
    write_video(tmp_path / "drive.mp4", 12)
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        source = open_source(f"http://127.0.0.1:{server.server_port}/drive.mp4")
        assert not source.live
        assert len(frames_of(source)) == 12
        server.shutdown()


def test_missing_path_names_what_can_be_given(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.mp4 does not exist\. `source` takes a camera index"):
        open_source(str(tmp_path / "nothing.mp4"))


def test_folder_gives_its_images_sorted_and_names_a_damaged_one(tmp_path):
    for name, level in (("b.png", 20), ("a.png", 10), ("c.jpg", 30)):
        cv2.imwrite(str(tmp_path / name), picture(level))
    (tmp_path / "notes.txt").write_text("not an image")
    frames = frames_of(open_source(str(tmp_path)))
    assert [(frame.name, int(frame.image_hwc_u8[0, 0, 0])) for frame in frames] == [
        ("a", 10),
        ("b", 20),
        ("c", 30),
    ]
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"b\.png"):
        frames_of(open_source(str(tmp_path)))


def test_folder_without_images_hints_at_specs(tmp_path):
    with pytest.raises(DataError, match=f"camvid:{tmp_path}"):
        open_source(str(tmp_path))


def test_synthetic_count_is_a_file_and_bare_synthetic_is_an_endless_camera():
    counted = open_source("synthetic:3")
    assert not counted.live
    frames = frames_of(counted)
    assert len(frames) == 3
    assert all(frame.label_hw_u8.shape == frame.image_hwc_u8.shape[:2] for frame in frames)
    camera = open_source("synthetic")
    assert (camera.live, camera.frames_per_second) == (True, 30.0)
    assert camera.read().label_hw_u8 is not None


def test_endless_dataset_starts_anew():
    class Two:
        spec, split, classes, palette, ignore_index = "two", "test", ("a",), ((0, 0, 0),), None

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return open_sample(index)

    def open_sample(index):
        from jetseg.data.contract import Sample

        return Sample(str(index), picture(index), None)

    source = DatasetSource(Two(), endless=True)
    assert [source.read().name for _ in range(5)] == ["0", "1", "0", "1", "0"]


def test_labels_can_be_left_out_but_not_invented(tmp_path):
    source = open_source("synthetic:2", labels=False)
    assert source.classes is None
    assert source.read().label_hw_u8 is None
    cv2.imwrite(str(tmp_path / "a.png"), picture(1))
    with pytest.raises(ConfigError, match="has no labels"):
        open_source(str(tmp_path), labels=True)


def test_pace_makes_a_dataset_live():
    source = open_source("synthetic:2", pace=50.0)
    assert (source.live, source.frames_per_second) == (True, 50.0)
    assert len(frames_of(source)) == 2


@pytest.mark.parametrize("labels", [None, True, False])
@pytest.mark.parametrize("own", [True, False])
def test_labels_of_other_classes_are_left_out_unless_they_are_asked_for(labels, own, caplog):
    known = open_source("synthetic:1").classes
    classes = known if own else (*known[1:], "cloud")
    with caplog.at_level("INFO"):
        source = open_source("synthetic:1", labels=labels, classes=classes)
    taken = labels if labels is not None else own
    assert source.classes == (known if taken else None)
    assert [frame.label_hw_u8 is not None for frame in frames_of(source)] == [taken]
    assert ("have other classes than the network" in caplog.text) == (labels is None and not own)
