import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from jetseg.errors import ConfigError
from jetseg.evaluation.confusion import ConfusionMatrix
from jetseg.installation import install_hint
from jetseg.manifest import Stage
from jetseg.report.build import GateVerdict, new_mistakes, write_report
from jetseg.report.config import ReportConfig
from jetseg.report.figures import iou_bars, speed_scatter

NASTY = "<script>alert(1)</script> & \"quoted\" 'name' $x^2$"


class Page(HTMLParser):
    """Collects tags, addresses, ids and text; complains about tags that are not closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in {"meta", "br", "img", "link", "input"}:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "action", "data"}:
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.fixture
def make(entries, dataset, tmp_path):
    def build(chosen=None, verdict=None, **settings):
        config = ReportConfig(rounds=2, seconds=0.02, **settings)
        networks = entries if chosen is None else chosen
        result = write_report(tmp_path / "new" / "report.html", config, networks, dataset, verdict)
        return result, result.path.read_text(encoding="utf-8")

    return build


def test_the_page_needs_nothing_else(make):
    _, content = make()
    page = Page(content)
    assert not page.open
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert "@import" not in content
    assert "url(http" not in content
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses if address[0] == "#"} <= set(page.ids)


def test_the_page_says_what_was_measured(make, dataset):
    result, content = make(title="Our <title>", threads=1)
    text = Page(content).text
    parent, child = result.rows
    assert "Our <title>" in text
    for figure in (f"{parent.miou:.2f}", f"{child.miou:.2f}", f"{child.latency.p50_ms:.2f}"):
        assert any(figure in part for part in text)
    assert f"{child.miou - parent.miou:+.2f}" in text
    assert any(f"{result.agreement[0]:.2f}%" in part for part in text)
    assert any("8 of 8 frames" in part for part in text)
    assert any("ratio=0.5" in part for part in text)
    assert result.conditions["frames"] == len(dataset) == 8
    assert all(name in text for name in dataset.classes)


def test_text_from_files_is_shown_and_never_markup(make, entries, dataset):
    dataset.spec = f"folder:{NASTY}"
    manifest = entries[1].engine.manifest.changed(stages=(Stage(name=NASTY, settings={NASTY: NASTY}),))
    nasty = [replace(entries[0], name=NASTY), replace(entries[1], manifest=manifest)]
    _, content = make(nasty, GateVerdict((NASTY,), ((NASTY, 1.0),)), title=NASTY)
    page = Page(content)
    assert "script" not in page.tags
    assert page.text.count(NASTY) > 5


def test_one_network_makes_a_page_too(make, entries):
    result, content = make(entries[:1], examples=2)
    assert not Page(content).open
    assert (result.agreement, result.mistakes) == ((), ())
    assert "lowest accuracy" in content
    assert "against" not in Page(content).text


def test_frames_and_examples_can_be_limited(make):
    result, content = make(frames=4, examples=0)
    assert result.conditions["frames"] == 4
    assert "data:image" not in content.replace("img-src data:", "")


def test_networks_with_the_same_name_and_none_are_refused(make, entries):
    for chosen, words in (([entries[0], entries[0]], "parent, parent"), ([], "none")):
        with pytest.raises(ConfigError, match=words):
            make(chosen)


def test_new_mistakes_are_the_confusions_that_grew():
    before, after = (ConfusionMatrix(["a", "b"], None) for _ in range(2))
    before.counts[:] = [[80, 15, 5], [10, 90, 0]]
    after.counts[:] = [[70, 10, 20], [12, 88, 0]]
    mistakes = new_mistakes(before, after)
    assert [(m.truth, m.prediction, m.before, m.after) for m in mistakes] == [
        ("a", "void", 5, 20),
        ("b", "a", 10, 12),
    ]
    assert mistakes[0].share == pytest.approx(15.0)
    assert new_mistakes(before, before) == ()


def test_figures_follow_the_page_and_keep_their_text():
    bars = iou_bars([NASTY, "sky"], [[50.0, None], [40.0, 30.0]])
    assert NASTY in Page(bars).text
    assert "#010203" not in bars
    assert "currentColor" in bars
    assert "<style" not in bars
    assert Page(speed_scatter([(2.0, 50.0), (1.0, 50.0)])).tags >= {"svg", "path"}


@pytest.mark.parametrize(("library", "module"), [("jinja2", "page"), ("matplotlib", "figures")])
def test_a_missing_library_is_named_with_its_extra(library, module):
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from jetseg.errors import MissingDependencyError\n"
        f"try:\n    import jetseg.report.{module}\n"
        "except MissingDependencyError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{library} " in done.stdout
    assert install_hint("report") in " ".join(done.stdout.split())


def test_agreement_is_the_mean_over_frames(make):
    result, _ = make()
    assert len(result.agreement) == 1
    assert 0 <= result.agreement[0] <= 100
    assert not np.isnan(result.agreement[0])


def test_the_gates_verdict_is_on_the_page(make):
    _, content = make(verdict=GateVerdict(("mIoU fell from 70.00 to 60.00",), (("conv_7", 12.5),)))
    text = Page(content).text
    assert "child is rejected" in text
    assert "mIoU fell from 70.00 to 60.00" in text
    assert "conv_7" in text
    _, content = make(verdict=GateVerdict((), ()))
    assert "child passed the gate" in Page(content).text
