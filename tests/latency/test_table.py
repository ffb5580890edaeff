"""A table travels as a file; one that is damaged, or of another device than is asked for, is refused in one sentence."""

import json

import pytest
from device import law_ms, network, table

from jetseg.errors import ArtifactError, ConfigError
from jetseg.latency.table import TableDraft, WantedDevice, check_table, read_table, write_table

ORIN = {"device": "Orin", "target": "orin-nano-8gb", "power_mode": "15W", "backend": "tensorrt", "version": "10.3.0"}


def test_a_table_is_read_as_it_was_written(tmp_path):
    written = table(3)
    write_table(tmp_path / "t.json", written)
    found = read_table(tmp_path / "t.json")
    assert found == written
    units = [unit for unit, _ in found.steps(found.networks[1])]
    assert list(map(str, units)) == list(map(str, network(1)))
    assert [ms for _, ms in found.steps(found.networks[1])] == pytest.approx([law_ms(unit) for unit in units], abs=1e-4)
    assert len(set(found.units)) == len(found.units)


def test_a_draft_goes_on_with_what_was_measured():
    draft = TableDraft(table(2))
    assert "drawn 1" in draft
    assert "drawn 2" not in draft
    draft.add("drawn 2", 1.0, [(unit, 0.1) for unit in network(0)])  # the operators of another network
    found = draft.table()
    assert len(found.networks) == 3
    assert found.units == table(2).units
    assert [place for place, _ in found.networks[2].parsed()] == [place for place, _ in found.networks[0].parsed()]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda content: content["networks"][0]["steps"].__setitem__(0, "1000000:0.1"),
            "operators that the table lacks",
        ),
        (lambda content: content["networks"][0]["steps"].__setitem__(0, "0:-1"), "networks.0.steps.0"),
        (lambda content: content["networks"][0]["steps"].__setitem__(0, "0:nan"), "networks.0.steps.0"),
        (lambda content: content["networks"][0].__setitem__("ms", -1.0), "networks.0.ms"),
        (lambda content: content["units"].__setitem__(0, "__import__('os')"), "is no operator"),
        (lambda content: content.__setitem__("format", 2), "format"),
        (lambda content: content.pop("device"), "device"),
        (lambda content: content.__setitem__("more", 1), "more"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, change, words):
    content = table(2).model_dump(mode="json")
    change(content)
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=words):
        read_table(tmp_path / "t.json")


def test_what_is_no_file_or_no_data_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="There is no file"):
        read_table(tmp_path / "absent.json")
    (tmp_path / "t.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="is no latency table"):
        read_table(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"target": "orin-nx-16gb"}, ["target: orin-nano-8gb in the table, orin-nx-16gb", "power mode: 15W"]),
        ({"target": "orin-nano-8gb-super"}, ["target", "power mode: 15W in the table, MAXN_SUPER asked for"]),
        ({"backend": "onnxruntime"}, ["backend: tensorrt in the table, onnxruntime asked for"]),
        ({"precision": "int8"}, ["precision: fp32"]),
        ({"version": "10.4.0"}, ["version: 10.3.0"]),
        ({"threads": 4}, ["threads: 1"]),
        ({"device": "Thor", "power_mode": "MAXN"}, ["device: Orin", "power mode: 15W"]),
    ],
)
def test_a_table_of_something_else_is_refused_with_all_that_differs(asked, words):
    with pytest.raises(ConfigError) as caught:
        check_table(table(1, **ORIN), WantedDevice(**asked))
    assert all(word in str(caught.value) for word in words)


def test_a_table_that_fits_is_taken():
    check_table(table(1, **ORIN), WantedDevice(target="orin-nano-8gb", backend="tensorrt", precision="fp32"))
    check_table(table(1, **ORIN), WantedDevice())


def test_a_version_of_tensorrt_that_the_target_never_had_is_refused():
    with pytest.raises(ConfigError, match=r"TensorRT version: 9\.0 in the table, 10\.3 or 10\.16 asked for"):
        check_table(table(1, **{**ORIN, "version": "9.0"}), WantedDevice(target="orin-nano-8gb"))
    with pytest.raises(ConfigError, match="TensorRT version"):  # 10.30 is not 10.3
        check_table(table(1, **{**ORIN, "version": "10.30.1"}), WantedDevice(target="orin-nano-8gb"))
