"""The report of tuning: one file with every number, nothing from elsewhere, and its JSON."""

from __future__ import annotations

import base64
import json
import math
import re

import numpy as np
import pytest

from pag_ros.errors import ParameterError
from pag_ros.evaluation.results import FramePictures
from pag_ros.lab.tuning.changes import Agreement, ScoreChange, find_agreements, find_changes
from pag_ros.lab.tuning.frame_pictures import picture_frames
from pag_ros.lab.tuning.judging import judge
from pag_ros.lab.tuning.paired_scores import JUDGED, SAME_LABEL, FrameScores, score_frames
from pag_ros.lab.tuning.report import (
    ReportWords,
    TuningResult,
    tiles,
    to_json,
    write_report,
)
from pag_ros.manifest import LabelClass

DEPTH, ABSREL, SCALED, NORMALS, LABELS = JUDGED
PIXELS = np.zeros((12, 16, 3), np.uint8)
TINY_PNG = b"\x89PNG tiny"

CHANGES = (
    ScoreChange(DEPTH, 1.0, 0.612, 0.703, 0.071, 0.11, 40),
    ScoreChange(DEPTH, 0.5, 0.5, 0.4, -0.2, -0.01, 40),
    ScoreChange(NORMALS, 1.0, 14.1, 15.0, -math.inf, math.inf, 9),
)
ROOMS = (ScoreChange(DEPTH, 1.0, 0.8, 0.7, -0.15, -0.05, 30),)
FRAMES = tuple(
    FrameScores(i, budget, {DEPTH: 0.1 * i}, {DEPTH: 0.2 * i}, {SAME_LABEL: 0.5})
    for i in range(3)
    for budget in (1.0, 0.5)
)


def result(**changes):
    values = {
        "title": "tuned on <b>kitchen</b>",
        "about": {"recording": "<script>alert(1)</script>", "images": "312"},
        "judgement": judge(CHANGES, ROOMS),
        "held_out": FRAMES,
        "changes": CHANGES,
        "agreements": (Agreement(SAME_LABEL, 1.0, 0.872, 40),),
        "rooms": ROOMS,
        "classes": (LabelClass("wall <i>", (1, 2, 3)),),
        "depth_range_m": (0.3, 10.0),
        "pictures": (FramePictures("worst <u>", PIXELS, {"after": {"depth": PIXELS}}),),
        "times_s": (10.0, 10.5, 11.0),
    }
    return TuningResult(**{**values, **changes})


def html_of(tmp_path, **changes):
    return write_report(result(**changes), tmp_path).read_text(encoding="utf-8")


def cells(html):
    """The rows of all tables as texts."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    plain = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in plain]


def test_the_report_needs_nothing_from_elsewhere(tmp_path):
    curves = tmp_path / "curves.png"
    curves.write_bytes(TINY_PNG)
    html = html_of(tmp_path, curves=curves)
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    encoded = base64.b64encode(TINY_PNG).decode("ascii")
    assert f"data:image/png;base64,{encoded}" in sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "url(" not in html.replace("url(#", "")
    assert "@import" not in html
    assert "<script" not in html


def test_every_text_from_outside_is_escaped(tmp_path):
    html = html_of(tmp_path)
    for escaped in ("<b>kitchen", "<script>", "wall <i>", "worst <u>"):
        assert escaped not in html
        assert escaped.replace("<", "&lt;").replace(">", "&gt;") in html


def test_the_judgement_stands_at_the_top_in_words(tmp_path):
    html = html_of(tmp_path)
    assert "The tuned model is not better" in html
    assert html.index("The tuned model is") < html.index('class="tiles"') < html.index("<table")
    reasons = judge(CHANGES, ROOMS).reasons
    assert len(re.findall("<li>", html)) == len(reasons)
    assert "<li>Worse: depth, δ &lt; 1.25 at budget 0.50, 50.0 % before, 40.0 % after;" in html
    better = html_of(tmp_path, judgement=judge(CHANGES[:1], ROOMS))
    assert "The tuned model is better" in better
    assert 'class="card verdict"' in better
    assert 'class="card verdict alert"' in html


def test_tables_hold_before_and_after_with_intervals(tmp_path):
    rows = cells(html_of(tmp_path))
    first = ["δ &lt; 1.25 ↑", "1.00", "61.2 %", "70.3 %", "+9.1 points"]
    assert [*first, "+7.1 to +11.0 points", "40", "better"] in rows
    second = ["δ &lt; 1.25 ↑", "0.50", "50.0 %", "40.0 %", "-10.0 points"]
    assert [*second, "-20.0 to -1.0 points", "40", "worse"] in rows
    third = ["median angle ↓", "1.00", "14.1°", "15.0°", "+0.9°"]
    assert [*third, "too few frames", "9", "undecided"] in rows
    assert ["segmentation: pixels with the same label", "1.00", "87.2 %", "40"] in rows
    lost = ["δ &lt; 1.25 ↑", "1.00", "80.0 %", "70.0 %", "+12.5 %"]
    assert [*lost, "-15.0 to -5.0 points", "30", "worse"] in rows
    assert ["images", "312"] in rows


def test_what_is_worse_or_forgotten_stands_out(tmp_path):
    html = html_of(tmp_path)
    assert html.count('<td class="alert">worse</td>') == 2
    assert '<td class="alert">+12.5 %</td>' in html
    kept = ScoreChange(DEPTH, 1.0, 0.8, 0.79, -0.02, 0.0, 30)
    assert 'class="alert">+1' not in html_of(tmp_path, rooms=(kept,), judgement=judge([], (kept,)))


def test_tiles_are_the_main_metrics_at_the_first_budget():
    texts = [(tile.value, tile.text, tile.alert) for tile in tiles(result())]
    assert texts == [
        ("61.2 % → 70.3 %", "depth: δ < 1.25, budget 1.00", False),
        ("14.1° → 15.0°", "normals: median angle, budget 1.00", False),
        ("80.0 % → 70.0 %", "rendered rooms, depth: δ < 1.25, budget 1.00", True),
    ]


def test_the_chart_shows_both_models_over_time(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pag_ros.evaluation.charts.before_and_after", lambda *args: seen.append(args) or "<svg/>"
    )
    html_of(tmp_path)
    html_of(tmp_path, times_s=())
    times, before, after, x_label, y_label = seen[0]
    assert (times, x_label, y_label) == ([10.0, 10.5, 11.0], "time, s", "δ < 1.25, %")
    assert before == pytest.approx([0.0, 10.0, 20.0])
    assert after == pytest.approx([0.0, 20.0, 40.0])
    assert seen[1][0] == [0.0, 1.0, 2.0]
    assert seen[1][3] == "held-out frame"


def test_a_chart_has_a_legend_in_the_page_s_colours(tmp_path):
    html = html_of(tmp_path)
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert all(text in svg for text in (">before<", ">after<", "var(--accent)", "var(--second)"))
    assert "#030303" not in svg


def test_pictures_have_their_scales_and_their_classes(tmp_path):
    html = html_of(tmp_path)
    assert html.count("linear-gradient(") == 2
    assert "<span>0.3 m</span>" in html
    assert "<span>x 1.00</span><span>x 1.25</span>" in html
    assert "<span>x 2.44</span>" in html
    assert html.count("<img") == 2


def test_json_holds_all_numbers_finite_or_null(tmp_path):
    html_of(tmp_path)
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert data == json.loads(json.dumps(to_json(result()), allow_nan=False))
    assert (data["better"], data["main"]) == (False, "depth delta1")
    assert data["reasons"] == list(judge(CHANGES, ROOMS).reasons)
    assert data["held_out"][0] == {
        "metric": "depth delta1",
        "budget": 1.0,
        "before": 0.612,
        "after": 0.703,
        "low": 0.071,
        "high": 0.11,
        "relative_loss": pytest.approx(-0.091 / 0.612),
        "frames": 40,
        "outcome": "better",
    }
    assert (data["held_out"][2]["low"], data["held_out"][2]["high"]) == (None, None)
    assert data["rooms"][0]["relative_loss"] == pytest.approx(0.125)
    assert data["forgotten"] == [{"metric": "depth delta1", "budget": 1.0}]
    assert data["agreement"] == [
        {"metric": "segmentation agreement", "budget": 1.0, "mean": 0.872, "frames": 40}
    ]
    assert data["frames"][-1] == {
        "index": 2,
        "time_s": 11.0,
        "budget": 0.5,
        "before": {"depth delta1": 0.2},
        "after": {"depth delta1": 0.4},
        "agreement": {"segmentation agreement": 0.5},
    }


@pytest.mark.parametrize(
    "missing",
    [
        {"pictures": ()},
        {"rooms": (), "judgement": judge(CHANGES, ())},
        {"agreements": ()},
        {"held_out": (), "changes": (), "judgement": judge((), ROOMS), "times_s": ()},
    ],
)
def test_whatever_is_missing_is_left_out(tmp_path, missing):
    html = html_of(tmp_path, **missing)
    assert "</html>" in html
    assert ("Not measured." in html) == ("rooms" in missing)


@pytest.mark.parametrize("name", ["missing.png", "curves.txt"])
def test_curves_that_cannot_be_shown_are_named_and_nothing_is_written(tmp_path, name):
    (tmp_path / "curves.txt").write_text("")
    with pytest.raises(ParameterError, match=name):
        write_report(result(curves=tmp_path / name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_from_frames_to_the_report(tmp_path, guessing, frames_of):
    frames, before, after = frames_of(15, kinds=("depth",)), guessing(1.5), guessing(1.1, 5.0)
    held_out = score_frames(frames, before, after, (1.0, 0.5))
    changes = find_changes(held_out)
    judgement = judge(changes, [])
    assert judgement.better
    made = result(
        judgement=judgement,
        held_out=held_out,
        changes=changes,
        agreements=find_agreements(held_out),
        rooms=(),
        pictures=picture_frames(frames, before, after, held_out, judgement.main),
        times_s=(),
    )
    html = write_report(made, tmp_path / "out").read_text(encoding="utf-8")
    assert "The tuned model is better" in html
    assert html.count('class="card sample"') == 3
    assert html.count('alt="depth error"') == 2 * 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.html",
        "report.json",
    ]


def test_models_have_the_names_that_are_given_and_nothing_is_said_of_what_cannot_be(tmp_path):
    words = ReportWords("Untaught and taught", "The taught model", "What was adopted")
    html = html_of(tmp_path, words=words, rooms=None, classes=(), judgement=judge(CHANGES, None))
    for text in ("Untaught and taught, on the same", "The taught model is not", "What was adopted"):
        assert text in html
    for text in ("tuned model", "tuning", "forgotten", 'class="legend"'):
        assert text not in html
    assert "What was forgotten" in html_of(tmp_path, rooms=())
    assert to_json(result(rooms=None))["rooms"] == []
