"""A parameter file that speaks to another node is refused: rcl would pass over it in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pag_ros.errors import ParameterError
from pag_ros.ros.parameters_file import require_section

ROOT = Path(__file__).parents[2]
BELOW = "\n  ros__parameters: {budget: 0.5}"


@pytest.mark.parametrize(
    ("text", "node"),
    [
        (f"pag_perception:{BELOW}", "/pag_perception"),
        (f"/pag_perception:{BELOW}", "/pag_perception"),
        (f"/front/pag_perception:{BELOW}", "/front/pag_perception"),
        ("front:\n  pag_perception:\n    ros__parameters: {budget: 0.5}", "/front/pag_perception"),
        (f"/**:{BELOW}", "/a/b/pag_perception"),
        (f"'**':{BELOW}", "/pag_perception"),
        (f"/**/pag_perception:{BELOW}", "/pag_perception"),
        (f"/**/pag_perception:{BELOW}", "/a/b/pag_perception"),
        (f"/*/pag_perception:{BELOW}", "/a/pag_perception"),
        (f"/*:{BELOW}", "/pag_perception"),
        (f"other:{BELOW}\npag_perception:{BELOW}", "/pag_perception"),
    ],
)
def test_a_section_for_the_node_is_found(text: str, node: str, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    require_section(file, node)


@pytest.mark.parametrize(
    ("text", "node", "reason"),
    [
        (f"perception:{BELOW}", "/pag_perception", "has parameters for /perception, none for /pag"),
        (
            f"pag_perception:{BELOW}",
            "/front/pag_perception",
            "none for /front/pag_perception; '/**",
        ),
        (f"/*/pag_perception:{BELOW}", "/a/b/pag_perception", "none for /a/b/pag_perception"),
        (f"/pag_perception_2:{BELOW}", "/pag_perception", "none for /pag_perception"),
        ("pag_perception: {budget: 0.5}", "/pag_perception", "for no node at all"),
        ("budget: 0.5", "/pag_perception", "for no node at all"),
        ("[1, 2]", "/pag_perception", "expected names of nodes"),
        ("a: [", "/pag_perception", "not a ROS parameter file"),
        ("", "/pag_perception", "expected names of nodes"),
    ],
)
def test_another_file_is_refused_with_what_it_has(
    text: str, node: str, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ParameterError, match=r"p\.yaml") as refusal:
        require_section(file, node)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("file", ["perception.yaml", *("profiles/cpu.yaml", "profiles/orin.yaml")])
@pytest.mark.parametrize("namespace", ["", "/front"])
def test_our_own_files_speak_to_the_node_in_any_namespace(file: str, namespace: str) -> None:
    require_section(ROOT / "config" / file, f"{namespace}/pag_perception")
