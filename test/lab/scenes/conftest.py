"""A tiny furniture catalogue, made on the spot in the real .sh3f format."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("embreex")
pytest.importorskip("cv2")
pytest.importorskip("PIL")

CUBE = """mtllib cube.mtl
v 0 0 0
v 2 0 0
v 2 0 2
v 0 0 2
v 0 2 0
v 2 2 0
v 2 2 2
v 0 2 2
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl printed
f 1/1 2/2 3/3 4/4
f 5/1 8/2 7/3 6/4
usemtl red
f 1 5 6 2
f 2 6 7 3
usemtl red
f 3 7 8 4
f 4 8 5 1
"""
MATERIALS = """newmtl printed
Kd 0 0 0
map_Kd picture.png
newmtl red
Kd 1 0 0
Ks 0.5 0.5 0.5
newmtl glass
d 0.01
"""
# name, category, width, depth, height (cm), further properties
ENTRIES = (
    ("Table", "Living room", 120, 80, 72, {}),
    ("Chair", "Living room", 45, 45, 90, {}),
    ("Sofa", "Living room", 180, 80, 80, {}),
    ("Bookcase", "Office", 90, 30, 180, {"modelRotation": "0 0 1 0 1 0 -1 0 0"}),
    ("Coffee cup", "Kitchen", 9, 9, 10, {}),
    ("Male", "Characters", 50, 40, 180, {}),
    ("Wall clock", "Miscellaneous", 30, 5, 30, {"elevation": "150"}),
    ("City bus", "Vehicles", 300, 1200, 300, {}),
    ("Bed", "Bedroom", 160, 200, 50, {}),
    ("Lower cabinet", "Kitchen", 60, 60, 85, {}),
    ("Fridge", "Kitchen", 60, 60, 160, {}),
)


def picture() -> bytes:
    """A small PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.linear_gradient("L").resize((300, 40)).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def write_catalogue(path: Path, extra: dict[str, bytes] | None = None) -> Path:
    """An .sh3f file with the entries above and, if asked for, further members."""
    lines = ["# a comment = ignored", "id=Test#Models", "license=CC0"]
    for number, (name, category, width, depth, height, more) in enumerate(ENTRIES, 1):
        fields = {
            "id": f"Test#{name}",
            "name": name,
            "category": category,
            "model": "/test/cube/cube.obj",
            "width": width,
            "depth": depth,
            "height": height,
            "creator": "Jos\\u00e9",
            **more,
        }
        lines += [f"{key}#{number}={value}" for key, value in fields.items()]
    members = {
        "PluginFurnitureCatalog.properties": "\n".join(lines).encode("latin-1"),
        "test/cube/cube.obj": CUBE.encode(),
        "test/cube/cube.mtl": MATERIALS.encode(),
        "test/cube/picture.png": picture(),
        **(extra or {}),
    }
    with zipfile.ZipFile(path, "w") as package:
        for member, data in members.items():
            package.writestr(member, data)
    return path


@pytest.fixture(scope="session")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a group for each split."""
    folder = tmp_path_factory.mktemp("furniture")
    write_catalogue(folder / "Everyday.sh3f")
    write_catalogue(folder / "KatorLegaz.sh3f")
    return folder
