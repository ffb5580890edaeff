import json

from small_network import write_dataset, write_small_network


def test_a_correction_is_known_by_its_former_name(tmp_path, jetseg):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    settings = ("--data", data, "--split", "all", "--out", tmp_path / "r.json", "--json")
    code, out, _ = jetseg("calibrate", model, *settings, "--correct", "pixels")
    assert code == 0
    assert sorted(trial["corrections"] for trial in json.loads(out)["trials"]) == [[], ["input-folding"]]
