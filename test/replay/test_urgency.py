"""A measuring instrument rises above the load, says by which right, and comes down again."""

from __future__ import annotations

import os
import threading

import pytest

from pag_ros.replay.urgency import urgency_here, urgent


def standing() -> tuple[int, int]:
    return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)


def test_threads_made_inside_rise_with_it_and_it_comes_down_again():
    before = standing()
    with urgent() as right:
        seen = []
        thread = threading.Thread(target=lambda: seen.append(standing()))
        thread.start()
        thread.join()
        assert seen == [standing()]
        if right == "no priority":
            assert standing() == before
        else:
            assert standing() != before
    assert standing() == before
    assert urgency_here() == right


def test_without_the_right_it_runs_as_before_and_says_so(monkeypatch):
    def refused(*_):
        raise PermissionError

    before = standing()
    monkeypatch.setattr(os, "sched_setscheduler", refused)
    monkeypatch.setattr(os, "setpriority", refused)
    with urgent() as right:
        assert right == "no priority"
        assert standing() == before


def test_niceness_serves_where_real_time_is_refused(monkeypatch):
    asked = []

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    monkeypatch.setattr(os, "getpriority", lambda *_: 0)
    monkeypatch.setattr(os, "setpriority", lambda _which, _who, nice: asked.append(nice))
    with urgent() as right:
        assert right == "nice -10"
    assert asked == [-10, 0]


def test_it_comes_down_after_an_error():
    before = standing()
    with pytest.raises(KeyError), urgent():
        raise KeyError
    assert standing() == before
