"""Damage of many kinds, the same for the same seed: bits, pieces, values, nesting, encodings."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

MAX_BYTES_CHANGED = 64
BYTES = (b"\0", b"\xff", b"\x80", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\0" * 8, b"\x01\0\0\0")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, float("nan"), float("inf"), -float("inf"), 1e308),
    *(2**31, 2**63, 10**400, "", "x", "NaN", "1e999", "\x1b[31mred", "\u202e\0\ud83d", "a" * 5000),
    *(
        [],
        {},
        [[]],
        [1, 2],
        [1, 2, 3],
        [None],
        {"a": 1},
        [[[[[]]]]],
        ["a", "b"],
        "../../etc/passwd",
    ),
)
NESTED = 50_000
"""Levels; what follows a nesting by calling itself has to give up."""


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, removed, inserted or copied, or the end cut off."""
    if rng.random() < 0.12:
        return content[: rng.randrange(len(content) + 1)]
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        size = rng.randint(1, MAX_BYTES_CHANGED)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                piece = rng.choice(BYTES)
                data[at : at + len(piece)] = piece
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = rng.randbytes(size)
            case 4:
                source = rng.randrange(len(data) + 1)
                data[at:at] = data[source : source + size]
    return bytes(data)


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Plain nested data of which up to three parts are another value, missing, or there twice."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(value))
        if not places or rng.random() < 0.02:
            return copy.deepcopy(rng.choice(VALUES))
        parent, key = rng.choice(places)
        match rng.randrange(4):
            case 0 | 1:
                parent[key] = copy.deepcopy(rng.choice(VALUES))
            case 2:
                del parent[key]
            case 3 if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
            case 3:
                parent[rng.choice(["x", "name", ""])] = copy.deepcopy(parent[key])
    return value


def damaged_json(value: Any, rng: random.Random) -> bytes:
    """The JSON of changed data, mostly; else text that is damaged, nested or otherwise encoded."""
    text = json.dumps(mutate_value(value, rng))
    kinds: list[Callable[[], bytes]] = [
        lambda: b"[" * NESTED,
        lambda: b'{"a":' * NESTED,
        lambda: text.encode("utf-16"),
        lambda: b"\xef\xbb\xbf" + text.encode(),
        lambda: mutate_bytes(json.dumps(value).encode(), rng),
    ]
    return text.encode() if rng.random() < 0.75 else rng.choice(kinds)()


def damaged_yaml(value: Any, rng: random.Random) -> bytes:
    """The YAML of changed data, or text that YAML's reader stumbles over in a way of its own."""
    import yaml

    text = yaml.safe_dump(value).encode()
    bomb = "a: &a [1, 2]\n" + "".join(
        f"b{k}: &b{k} [*{'a' if k == 0 else f'b{k - 1}'}, *{'a' if k == 0 else f'b{k - 1}'}]\n"
        for k in range(30)
    )
    key = rng.choice(list(value))
    odd = (
        *("a: &a [*a]\n", "? [1, 2]\n: 3\n", "? {a: b}\n: 1\n", "[" * 2000, "- " * 2000, "<<: 1\n"),
        *("!!python/object/apply:os.system ['id']", f"{key}: !!int x\n", f"{key}: !!float x\n"),
        *(f"{key}: 2026-11-99\n", f"{key}: !!timestamp x\n", f"{key}: !!binary x\n"),
        *(f"{key}: 0x{'f' * 9000}\n", "", "3\n", f"{bomb}{key}: *b29\n"),
        *(f"{bomb}{text.decode()}\n{other}: *b29\n" for other in list(value)),
    )
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(odd).encode()
    if kind < 0.6:
        return mutate_bytes(text, rng)
    return yaml.safe_dump(mutate_value(value, rng)).encode("utf-8", "replace")


def _places(value: Any) -> Any:
    """(container, key) of every value within nested lists and mappings."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if _is_list(value) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
