"""The newest frame wins, everything runs on one thread, and nothing is lost unseen."""

from __future__ import annotations

import threading

from pag_ros.ros.mailbox import Mailbox
from pag_ros.ros.worker import Worker


def test_a_newer_item_takes_the_place_of_one_nobody_fetched() -> None:
    mailbox: Mailbox[str] = Mailbox()
    assert mailbox.put("old") is None
    assert mailbox.put("new") == "old"
    assert mailbox.take() == "new"
    assert mailbox.take() is None


def test_each_sender_has_a_place_and_the_earliest_deadline_goes_first() -> None:
    mailbox: Mailbox[str] = Mailbox()
    mailbox.put("late", "left", due=3.0)
    mailbox.put("first", "rear", due=1.0)
    mailbox.put("equal", "right", due=3.0)
    assert mailbox.put("soon", "rear", due=2.0) == "first"
    assert [mailbox.take() for _ in range(4)] == ["soon", "late", "equal", None]


def test_a_busy_worker_handles_the_newest_item_and_returns_the_superseded() -> None:
    handled: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    def handle(item: int) -> None:
        started.set()
        go_on.wait(30)
        handled.append(item)

    worker = Worker(handle)
    assert worker.submit(1) is None
    assert started.wait(30)
    assert worker.submit(2) is None
    assert worker.submit(3) == 2
    go_on.set()
    worker.stop()
    assert handled == [1, 3]


def test_jobs_and_items_share_one_thread() -> None:
    threads: set[int] = set()
    worker: Worker[None] = Worker(lambda _: threads.add(threading.get_ident()))
    worker.call(lambda: threads.add(threading.get_ident())).result(30)
    worker.submit(None)
    worker.stop()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_draining_drops_what_waits_and_finishes_what_runs() -> None:
    handled: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    def handle(item: int) -> None:
        started.set()
        go_on.wait(30)
        handled.append(item)

    worker = Worker(handle)
    worker.submit(1)
    assert started.wait(30)
    worker.submit(2)
    threading.Timer(0.05, go_on.set).start()
    assert worker.drain() == [2]
    assert handled == [1]
    worker.stop()
