"""DDS defaults that give way to the user's."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pag_ros.ros.transport import PROFILE, PROFILE_VARIABLES, explain_loss, prepare_for_images

MODE = "RMW_FASTRTPS_PUBLICATION_MODE"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*PROFILE_VARIABLES, MODE):
        monkeypatch.setenv(variable, "to be restored")
        monkeypatch.delenv(variable)


def test_the_profile_has_room_for_the_outputs_of_a_frame() -> None:
    prepare_for_images()
    profile = ET.parse(Path(os.environ[PROFILE_VARIABLES[0]]))
    size = profile.findtext(".//{*}segment_size")
    assert size is not None
    assert int(size) > 4 * 640 * 480 * 17


@pytest.mark.parametrize("variable", PROFILE_VARIABLES)
def test_a_profile_of_the_users_stays(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "mine.xml")
    monkeypatch.setenv(MODE, "ASYNCHRONOUS")
    prepare_for_images()
    assert [os.environ[v] for v in PROFILE_VARIABLES if v in os.environ] == ["mine.xml"]
    assert os.environ[MODE] == "ASYNCHRONOUS"


@pytest.mark.parametrize(
    ("rmw", "reliable", "words"),
    [
        ("rmw_fastrtps_cpp", False, f"or start it with {PROFILE_VARIABLES[0]}={PROFILE}, or use"),
        ("rmw_cyclonedds_cpp", False, "have it publish reliably"),
        ("rmw_fastrtps_cpp", True, "too slow for them"),
    ],
)
def test_what_to_do_about_lost_images_depends_on_who_loses_them(
    rmw: str, reliable: bool, words: str
) -> None:
    assert words in explain_loss(rmw, reliable)
    assert ("profile" in explain_loss(rmw, reliable).lower()) == words.startswith("or start")


def test_publishing_ends_when_the_outputs_can_be_fetched() -> None:
    prepare_for_images()
    assert os.environ[MODE] == "SYNCHRONOUS"
