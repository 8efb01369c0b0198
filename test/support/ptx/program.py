"""The text of a kernel as a list of instructions."""

from __future__ import annotations

import re
from dataclasses import dataclass

_REGISTERS = re.compile(r"\.reg \.(\w+)\s+(%\w+)<(\d+)>;")
_THREADS = re.compile(r"\.(?:reqntid|maxntid) (\d+)")
_PARAMETER = re.compile(r"\.param [^,)]*?(\w+_param_\d+)")
_INSTRUCTION = re.compile(r"^(?:@(!?)(%p\d+)\s+)?([a-z][\w.:]*)\s*(.*)$")


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: with its dots, "ld.global.v2.b32".
        operands: as they are written; a group in braces is one.
        guard: predicate register, empty for none.
        guarded_by: the value of the guard that lets it happen.
        text: for people.
    """

    name: str
    operands: tuple[str, ...]
    guard: str
    guarded_by: bool
    text: str

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.replace("::", ".").split("."))

    def group(self, place: int) -> list[str]:
        """The registers of an operand in braces, or the one that it is."""
        return [each.strip() for each in self.operands[place].strip("{} ").split(",")]


@dataclass(frozen=True)
class Program:
    """A kernel.

    Attributes:
        labels: name -> number of the instruction after it.
        parameters: name -> its position.
        threads: of a block.
        registers: prefix of a register's name -> its type, "b32".
    """

    code: tuple[Instruction, ...]
    labels: dict[str, int]
    parameters: dict[str, int]
    threads: int
    registers: dict[str, str]


def parse(text: str) -> Program:
    """The only kernel in a text of PTX."""
    begin = text.index(".entry")
    open_brace = text.index("{", begin)
    head, body = text[begin:open_brace], text[open_brace + 1 :]
    threads = _THREADS.search(head)
    if threads is None:
        raise ValueError("the kernel does not say how many threads a block has")
    code: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in body.splitlines():
        line = line.split("//")[0].strip()
        if line.endswith(":"):
            labels[line[:-1]] = len(code)
        elif line and not line.startswith(".") and line != "}":
            code += [_instruction(each.strip()) for each in line.split(";") if each.strip()]
    return Program(
        tuple(code),
        labels,
        {name: place for place, name in enumerate(_PARAMETER.findall(head))},
        int(threads[1]),
        {prefix: kind for kind, prefix, _ in _REGISTERS.findall(body)},
    )


def _instruction(text: str) -> Instruction:
    found = _INSTRUCTION.match(text)
    if found is None:
        raise ValueError(f"no instruction: {text}")
    return Instruction(found[3], _operands(found[4]), found[2] or "", not found[1], text)


def _operands(text: str) -> tuple[str, ...]:
    """What commas separate outside of brackets."""
    found, depth, current = [], 0, ""
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            found.append(current.strip())
            current = ""
        else:
            current += character
    return tuple([*found, current.strip()] if current.strip() else found)
