"""The report is one file that shows the numbers and nothing from elsewhere."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from pag_ros.budget.outcomes import PROCESSED, UNACCOUNTED
from pag_ros.evaluation.matching import STAMPS, Pairing
from pag_ros.evaluation.named_metrics import METRICS, metric_of
from pag_ros.evaluation.report import write_report
from pag_ros.evaluation.results import (
    Evaluation,
    FramePictures,
    FrameRecord,
    Run,
    Scores,
    percentiles,
    to_json,
)
from pag_ros.evaluation.truth_tally import TruthTally
from pag_ros.manifest import LabelClass

SCORES = Scores(
    tasks={"depth": {"delta1": 0.875, "AbsRel": 0.125}},
    class_iou=(0.5, None),
    cameras={"left": {"depth": {"delta1": 0.75}}, "right": {"depth": {"delta1": 1.0}}},
)
PIXELS = np.zeros((12, 16, 3), np.uint8)


def run(name="live", budget=None, scores=None, latency=40.0):
    records = [FrameRecord(0.1 * i, latency + i, 0.5) for i in range(10)]
    records.append(FrameRecord(1.0))
    return Run(
        name=name,
        budget=budget,
        records=tuple(records),
        outcomes={PROCESSED: 10, "superseded": 1, UNACCOUNTED: 0},
        scores=SCORES if scores is None else scores,
    )


def evaluation(**changes):
    values = {
        "title": "tiny on room",
        "live": True,
        "about": {"model": "tiny", "device": "none", "bag": "<b>bag</b>"},
        "deadline_ms": 45.5,
        "runs": (run(),),
        "classes": (LabelClass("wall", (1, 2, 3)), LabelClass("floor", (4, 5, 6))),
        "depth_range_m": (0.3, 10.0),
        "counters": {"received": 11},
        "problems": {"/image: <script>alert(1)</script>": 2},
        "samples": (FramePictures("0.0 s", PIXELS, {"live": {"depth": PIXELS}}),),
    }
    return Evaluation(**{**values, **changes})


def tally(**changes):
    pairing = Pairing(
        messages=9,
        partners={i: i for i in range(7)},
        clock=STAMPS,
        tolerance_ns=50_000_000,
        offsets_ns=(30_000_000,) * 7,
        unmatched={"no image within 50 ms": 2},
        nearest_ns=70_000_000,
    )
    values = {"kind": "depth", "topic": "/d<i>", "is_asked_for": False, "scored": 6}
    result = TruthTally(pairing=pairing, **{**values, **changes})
    result.unusable["8x6 pixels <b>"] += 1
    result.notes["registered from <b> to c"] += 6
    return result


def html_of(tmp_path, **changes):
    return write_report(evaluation(**changes), tmp_path).read_text(encoding="utf-8")


def test_the_report_needs_nothing_from_elsewhere(tmp_path):
    html = html_of(tmp_path)
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "@import" not in html
    assert "<script" not in html


def test_names_from_the_bag_are_escaped(tmp_path):
    html = html_of(tmp_path)
    assert "&lt;script&gt;" in html
    assert "<b>bag</b>" not in html


def test_what_became_of_the_truth_is_on_the_page_and_in_the_json(tmp_path):
    html = html_of(tmp_path, truth=(tally(),))
    assert "/d&lt;i&gt;" in html
    assert "<i>" not in html
    assert "2 of 9 messages left out: no image within 50 ms" in html
    assert "1 of 9 messages left out: 8x6 pixels &lt;b&gt;" in html
    assert "+30.0 ms" in html
    assert "/d&lt;i&gt;: 6 registered from &lt;b&gt; to c" in html
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert data["truth"]["depth"] == {
        "topic": "/d<i>",
        "messages": 9,
        "matched": 7,
        "scored": 6,
        "unmatched": {"no image within 50 ms": 2},
        "unusable": {"8x6 pixels <b>": 1},
        "unscored": {},
        "notes": {"registered from <b> to c": 6},
        "unread": 0,
        "matched_by": "stamps",
        "offset_ms": {"median": 30.0, "min": 30.0, "max": 30.0},
    }


def test_truth_that_gave_nothing_is_told_from_truth_that_gave_something():
    assert tally().failure() is None
    nothing = tally(scored=0)
    nothing.unusable["8x6 pixels <b>"] += 6
    assert "/d<i>: not one of 9 messages of true depth could be scored" in nothing.failure()
    no_output = tally(scored=0, is_asked_for=True)
    assert no_output.unread == 6
    no_output.unscored["no output"] += 6
    assert "6 x no output" in no_output.failure()


def test_the_numbers_are_on_the_page(tmp_path):
    html = html_of(tmp_path)
    for text in (
        "10 / 11",
        "87.5 %",
        "0.125",
        "45.5 ms deadline",
        "superseded",
        "depth, left alone",
    ):
        assert text in html, text


def test_json_beside_it_has_the_same_numbers(tmp_path):
    html_of(tmp_path)
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert data == json.loads(json.dumps(to_json(evaluation())))
    (live,) = data["runs"]
    assert live["late"] == 4
    assert live["outcomes"]["superseded"] == 1
    assert live["scores"]["depth"]["delta1"] == 0.875
    assert len(live["frames"]) == 11
    assert live["frames"][-1]["latency_ms"] is None


def test_no_half_written_files_are_left(tmp_path):
    html_of(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_several_budgets_give_curves_and_columns(tmp_path):
    runs = tuple(run(f"budget {b:.2f}", b) for b in (1.0, 0.5))
    html = html_of(tmp_path, runs=runs, live=False, deadline_ms=None)
    assert "Accuracy against budget" in html
    assert "<th>budget 0.50</th>" in html


def test_charts_take_the_page_s_colours(tmp_path):
    html = html_of(tmp_path)
    assert "var(--accent)" in html
    assert "#030303" not in html


@pytest.mark.parametrize(
    "empty",
    [
        {"samples": ()},
        {"runs": (Run("live", None, (FrameRecord(0.0),), {PROCESSED: 0, UNACCOUNTED: 1}),)},
        {"runs": (run(scores=Scores()),)},
    ],
)
def test_whatever_is_missing_is_left_out(tmp_path, empty):
    assert "</html>" in html_of(tmp_path, **empty)


def test_frames_without_an_end_stand_out(tmp_path):
    lost = Run("live", None, (FrameRecord(0.0),), {PROCESSED: 0, UNACCOUNTED: 1})
    assert 'class="card tile alert"' in html_of(tmp_path, runs=(lost,))
    assert 'class="card tile alert"' not in html_of(tmp_path, deadline_ms=1000.0)


def test_metrics_are_written_with_their_units():
    delta1 = next(m for m in METRICS if m.name == "delta1")
    assert delta1.format(0.5) == "50.0 %"
    assert delta1.format(None) == "-"
    assert delta1.format_difference(0.051) == "+5.1 points"
    assert metric_of("normals", "median").format_interval(-0.04, 1.26) == "+0.0 to +1.3°"
    assert metric_of("depth", "AbsRel").format_difference(-0.0125) == "-0.013"


def test_percentiles_by_hand():
    assert percentiles(np.array([])) == {}
    result = percentiles(np.arange(101, dtype=float))
    assert result == {"mean": 50.0, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
