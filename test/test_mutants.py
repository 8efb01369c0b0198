"""tools/mutants: its list fits the code, and it tells which faults the tests notice."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    loader = SourceFileLoader("mutants", str(ROOT / "tools" / "mutants"))
    spec = spec_from_loader("mutants", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path, mutants: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sum.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "test_sum.py").write_text(
        "from sum import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    )
    (tmp_path / "test_lax.py").write_text("def test_nothing():\n    pass\n")
    monkeypatch.setattr(mutants, "CHECKOUT", tmp_path)
    return tmp_path


def test_the_list_fits_the_code_and_names_tests_that_exist(mutants: ModuleType) -> None:
    listed = mutants.read_mutants()
    assert len(set(listed)) == len(listed) >= 40
    files = {Path(mutant.file).stem for mutant in listed}
    assert files >= {"deadline", "controller", "letterbox", "decode", "metrics"}
    assert all((ROOT / test).is_file() for mutant in listed for test in mutant.tests)


@pytest.mark.parametrize(
    ("tests", "outcome"),
    [("test_sum.py", "failed"), ("test_lax.py", "passed"), ("missing.py", "failed to start")],
)
def test_only_a_failing_test_notices_a_fault(
    mutants: ModuleType, checkout: Path, tests: str, outcome: str
) -> None:
    mutant = mutants.Mutant("sum.py", "a + b", "a - b", (tests,))
    assert mutants.try_mutant(checkout, mutant) == outcome
    assert "a + b" in (checkout / "sum.py").read_text(), "whole again"


@pytest.mark.parametrize("was", ["a * b", "a", "return a + b"])
def test_a_fault_that_fits_no_line_or_several_is_refused(
    mutants: ModuleType, checkout: Path, was: str
) -> None:
    path = checkout / "list.yaml"
    path.write_text(
        "- file: sum.py\n  tests: [test_sum.py]\n  mutants:\n"
        f"    - {{was: {was}, now: return a + b}}\n"
    )
    with pytest.raises(ValueError, match="expected one to change"):
        mutants.read_mutants(path)
