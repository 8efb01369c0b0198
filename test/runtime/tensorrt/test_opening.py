"""From device names to sessions: missing things are told, engines found, built, refused, checked.

TensorRT, PyCUDA and the GPU are doubles here (`gpu_double`), or really missing: nothing is seen of
how the real ones fail, apart from what their documentation says of it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from gpu_double import STAMP, CountedEngineDouble, DriverDouble, EngineDouble

from pag_ros.budget import ControllerSettings
from pag_ros.errors import BackendError, ModelError, ParameterError
from pag_ros.kernels.gpu.store import kernels_path, save_kernels
from pag_ros.manifest import load_manifest
from pag_ros.runtime import EngineOptions, open_perception, open_session
from pag_ros.runtime.tensorrt import opening, plugin_class, requirements
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError
from pag_ros.runtime.tensorrt.libcuda import Gpu
from pag_ros.runtime.tensorrt.requirements import tensorrt_problem
from pag_ros.runtime.tensorrt.self_check import reference_path, write_reference
from pag_ros.runtime.tensorrt.standard_graph import standard_graph, standard_path

ORIN = Gpu("Orin", 87, True, (12, 6), 16)


class Machine:
    """A machine with TensorRT, and what is asked of it.

    Attributes:
        said: sentences for the log.
        builds: engines built so far.
        kinds: of plugins, of every build that was begun.
        failing: kind of plugins -> how builds with it fail.
        refused: contents that TensorRT refuses to load.
        factor, wrong: by what depth is too large, with which kinds of plugins.
    """

    def __init__(self, model: Path, cache: Path) -> None:
        self.model = model
        self.said: list[str] = []
        self.builds = 0
        self.kinds: list[str] = []
        self.failing: dict[str, BackendError] = {}
        self.refused: set[bytes] = set()
        self.factor, self.wrong = 1.0, {"aot", "class"}
        self.drivers: list[DriverDouble] = []
        self.trt = SimpleNamespace(__version__="10.14.1")
        self.options = EngineOptions(cache, say=self.said.append)

    def open(self, device: str = "tensorrt", **options: Any) -> Any:
        return open_session(self.model, device, engine=self.options, **options)

    def driver(self) -> DriverDouble:
        self.drivers.append(DriverDouble())
        return self.drivers[-1]

    def engine(self, trt: Any, content: bytes, manifest: Any) -> EngineDouble:
        if content in self.refused:
            raise BackendError("TensorRT 10.14.1 refuses the engine: magic tag does not match")
        engine = EngineDouble(self.model, self.drivers[-1])
        if self.factor != 1.0 and content.decode().split()[0] in self.wrong:
            infer = engine._cpu.infer
            engine._cpu.infer = lambda *a: _scaled(infer(*a), self.factor)  # type: ignore[method-assign]
        return engine

    def build(self, trt: Any, plugins: Any, *arguments: Any) -> tuple[bytes, dict[str, Any]]:
        self.kinds.append(plugins.kind)
        if plugins.kind in self.failing:
            raise self.failing[plugins.kind]
        self.builds += 1
        return f"{plugins.kind} engine {self.builds}".encode(), {
            "device_bytes": 1000,
            "build_seconds": 9.0,
        }


def _scaled(prediction: Any, factor: float) -> Any:
    prediction.depth[:] *= np.float32(factor)
    return prediction


@pytest.fixture
def model(model: Path) -> Path:
    save_kernels(kernels_path(model), [STAMP])
    session = open_session(model, "cpu", 1)
    write_reference(session, model)
    session.close()
    return model


@pytest.fixture
def machine(model: Path, tmp_path: Path, monkeypatch) -> Iterator[Machine]:
    machine = Machine(model, tmp_path / "engines")
    monkeypatch.setattr(requirements, "require_gpu", lambda: ORIN)
    monkeypatch.setattr(requirements, "import_tensorrt", lambda: machine.trt)
    monkeypatch.setattr(requirements, "import_pycuda", lambda: None)
    monkeypatch.setattr(opening, "import_tensorrt", lambda: machine.trt)
    monkeypatch.setattr(opening, "PyCudaDriver", machine.driver)
    monkeypatch.setattr(opening, "TensorRtEngine", machine.engine)
    monkeypatch.setattr(opening, "build_engine", machine.build)
    monkeypatch.setattr(plugin_class, "register_programs", lambda *arguments: None)
    monkeypatch.setattr(opening, "kernels_of", lambda *arguments: {})
    monkeypatch.setattr(opening, "load_kernels", lambda *arguments: {STAMP.name: STAMP})
    yield machine
    assert all(driver.is_closed for driver in machine.drivers)


def test_an_engine_is_built_checked_and_found_again(machine: Machine) -> None:
    machine.open().close()
    assert "building a TensorRT engine of tiny for Double: there is none yet" in machine.said
    assert "the engine's numbers are the model's" in machine.said[-1]
    machine.said.clear()
    session = machine.open()
    assert session.backend == "tensorrt 10.14.1 fp16 Double, CUDA graph"
    session.close()
    assert machine.said == []
    assert machine.builds == 1


def test_another_tensorrt_builds_anew_and_says_so(machine: Machine) -> None:
    machine.open().close()
    machine.trt.__version__ = "10.15.1"
    machine.open().close()
    assert machine.builds == 2
    assert any("TensorRT 10.14.1, not 10.15.1; that took 9 s" in each for each in machine.said)


@pytest.mark.parametrize(
    ("version", "kind"), [("10.3.0", "class"), ("10.13.3", "class"), ("10.14.1", "aot")]
)
def test_plugins_in_python_are_known_before_an_engine_is_read(
    machine: Machine, monkeypatch, version: str, kind: str
) -> None:
    asked: list[str] = []
    machine.trt.__version__ = version
    monkeypatch.setattr(plugin_class, "register_programs", lambda *_: asked.append("plugins"))
    engine = machine.engine
    monkeypatch.setattr(
        opening, "TensorRtEngine", lambda *args: (asked.append("engine"), engine(*args))[1]
    )
    machine.open().close()
    assert asked == (["plugins", "engine"] if kind == "class" else ["engine"])
    (note,) = machine.options.cache.glob("*.json")  # type: ignore[union-attr]
    assert json.loads(note.read_text())["key"]["kernels"].split()[0] == kind


def test_an_orin_of_another_size_and_another_release_build_anew(
    machine: Machine, monkeypatch
) -> None:
    machine.open().close()
    make = machine.driver

    def smaller() -> DriverDouble:
        driver = make()
        driver.gpu = replace(driver.gpu, multiprocessors=8)
        return driver

    monkeypatch.setattr(opening, "PyCudaDriver", smaller)
    machine.open().close()
    assert any("multiprocessors 16, not 8" in each for each in machine.said)
    monkeypatch.setattr(opening, "__version__", "99.0")
    machine.open().close()
    assert machine.builds == 3


def test_an_engine_that_only_lacks_memory_is_kept(machine: Machine, monkeypatch) -> None:
    machine.open().close()

    def short(*arguments: Any) -> Any:
        raise OutOfMemoryError("TensorRT cannot prepare the engine")

    monkeypatch.setattr(opening, "TensorRtEngine", short)
    with pytest.raises(OutOfMemoryError):
        machine.open()
    monkeypatch.setattr(opening, "TensorRtEngine", machine.engine)
    machine.open().close()
    assert machine.builds == 1


def test_a_stored_engine_that_tensorrt_refuses_is_built_anew_once(machine: Machine) -> None:
    machine.open().close()
    machine.refused.add(b"aot engine 1")
    machine.open().close()
    assert machine.builds == 2
    assert any("is discarded: TensorRT 10.14.1 refuses the engine" in each for each in machine.said)


def test_what_tensorrt_refuses_right_after_the_build_is_not_built_again(machine: Machine) -> None:
    machine.trt.__version__ = "10.3.0"
    machine.refused |= {b"class engine 1", b"class engine 2"}
    with pytest.raises(BackendError, match="magic tag"):
        machine.open()
    with pytest.raises(BackendError, match=r"magic tag.*found before.*build MODEL --force"):
        machine.open()
    assert machine.builds == 1


def test_wrong_numbers_are_refused_and_the_engine_is_not_built_again(machine: Machine) -> None:
    machine.trt.__version__ = "10.3.0"
    machine.factor = 1.5
    for _ in range(3):
        with pytest.raises(BackendError, match=r"depth \(median\) deviates by 0\.5"):
            machine.open()
    assert machine.builds == 1
    assert not list(machine.options.cache.glob("*.engine"))  # type: ignore[union-attr]


def test_force_and_another_tensorrt_try_again(machine: Machine) -> None:
    machine.trt.__version__ = "10.3.0"
    machine.factor = 1.5
    with pytest.raises(BackendError):
        machine.open()
    machine.factor = 1.0
    machine.trt.__version__ = "10.4.0"
    machine.open().close()
    assert machine.builds == 2
    machine.trt.__version__ = "10.3.0"
    machine.options = replace(machine.options, force=True)
    machine.open().close()
    machine.options = replace(machine.options, force=False)
    machine.open().close()  # What was rejected before is forgotten.
    assert machine.builds == 3


def test_where_one_kind_of_plugins_fails_the_other_is_tried(machine: Machine) -> None:
    machine.factor, machine.wrong = 1.5, {"aot"}
    for _ in range(2):
        session = machine.open()
        assert session.backend.startswith("tensorrt")
        session.close()
    assert machine.kinds == ["aot", "class"]  # At the second start both are known.
    fallbacks = [each for each in machine.said if "trying kernels launched from Python" in each]
    assert len(fallbacks) == 2
    assert all(
        "kernels compiled into the engine: the engine computes" in each for each in fallbacks
    )


def test_a_build_that_tensorrt_refuses_is_not_tried_again_for_minutes(machine: Machine) -> None:
    machine.failing["aot"] = BackendError("TensorRT 10.14.1 cannot build the engine: no kernel")
    machine.open().close()
    machine.open().close()
    assert machine.kinds == ["aot", "class"]


def test_where_both_kinds_fail_both_reasons_are_told(machine: Machine) -> None:
    machine.failing = {kind: BackendError(f"no {kind} here") for kind in ("aot", "class")}
    with pytest.raises(
        BackendError, match=r"into the engine: no aot here; .*Python: no class here"
    ):
        machine.open()


def test_want_of_memory_is_neither_remembered_nor_a_reason_for_other_plugins(
    machine: Machine,
) -> None:
    machine.failing["aot"] = OutOfMemoryError("building the engine needs about 900 MiB")
    for _ in range(2):
        with pytest.raises(OutOfMemoryError, match="900 MiB"):
            machine.open()
    assert machine.kinds == ["aot", "aot"]


def test_without_a_reference_the_session_works_and_says_what_is_missing(machine: Machine) -> None:
    reference_path(machine.model).unlink()
    machine.open().close()
    assert "numbers are not checked" in machine.said[-1]
    session = open_session(machine.model, "cpu", 1)
    write_reference(session, machine.model)
    session.close()
    machine.open().close()
    assert "the engine's numbers are the model's" in machine.said[-1]


def test_too_little_memory_for_an_engine_is_told_with_both_amounts(
    machine: Machine, monkeypatch
) -> None:
    huge = {"device_bytes": 3 << 30}
    monkeypatch.setattr(opening, "build_engine", lambda *arguments: (b"engine", huge))
    with pytest.raises(BackendError, match=r"the engine needs 3072 MiB, 8 MiB are free"):
        machine.open()


def test_a_model_without_kernels_is_told_before_anything_is_built(machine: Machine) -> None:
    kernels_path(machine.model).unlink()
    with pytest.raises(BackendError, match=r"no GPU kernels there .*pag_ros build kernels"):
        machine.open()
    assert machine.builds == 0


def test_auto_takes_the_gpu_where_there_is_one(machine: Machine) -> None:
    session = machine.open("auto")
    assert session.backend.startswith("tensorrt")
    session.close()


def test_auto_takes_the_cpu_where_the_gpu_fails_and_says_why(machine: Machine) -> None:
    machine.factor = 2.0
    session = machine.open("auto", threads=1)
    assert session.backend.startswith("openvino")
    session.close()
    assert machine.said[-1].startswith(
        "device auto takes the CPU, since TensorRT cannot be used: "
        "kernels compiled into the engine: "
    )


def test_auto_takes_the_cpu_where_something_is_missing_and_says_what(
    machine: Machine, monkeypatch
) -> None:
    def missing() -> None:
        raise BackendError("PyCUDA is not installed: pip install pycuda")

    monkeypatch.setattr(requirements, "import_pycuda", missing)
    with pytest.raises(BackendError, match=r"pip install pycuda; `pag_ros doctor` lists all"):
        machine.open("tensorrt")
    session = machine.open("auto", threads=1)
    assert session.backend.startswith("openvino")
    session.close()
    assert machine.said == [
        "device auto takes the CPU: PyCUDA is not installed (`pag_ros doctor` tells what to do)"
    ]


def test_a_build_that_was_stopped_is_not_replaced_by_the_cpu(machine: Machine, monkeypatch) -> None:
    machine.failing["aot"] = BackendError("the build of the engine was stopped")
    machine.options = replace(machine.options, is_stopped=lambda: True)
    with pytest.raises(BackendError, match="was stopped"):
        machine.open("auto")
    machine.failing.clear()
    machine.options = replace(machine.options, is_stopped=bool)
    machine.open("auto").close()  # Nothing was remembered as the engine's fault.
    assert machine.kinds == ["aot", "aot"]


def test_another_size_is_for_the_cpu(machine: Machine) -> None:
    with pytest.raises(BackendError, match=r"runs tiny\.onnx at 64x48 only.*; use device cpu"):
        machine.open(size=(96, 72))
    machine.open(size=(64, 48)).close()


def test_auto_takes_the_cpu_for_another_size_and_says_why(machine: Machine) -> None:
    session = machine.open("auto", threads=1, size=(96, 72))
    assert session.backend.startswith("openvino")
    session.close()
    assert "device auto takes the CPU, since TensorRT" in machine.said[-1]
    assert "at 64x48 only" in machine.said[-1]


def test_a_perception_on_the_gpu_escalates_without_half_the_resolution(
    machine: Machine, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(machine.model, "auto", escalate=True, engine=machine.options)
    assert [each.session.backend for each in perception.sessions] == [
        "tensorrt 10.14.1 fp16 Double, CUDA graph"
    ]
    perception.close()


# A transformer, whose engine has no plugins.


class TransformerMachine(Machine):
    """The same machine with a transformer."""

    def counted_engine(self, trt: Any, content: bytes, manifest: Any) -> CountedEngineDouble:
        if content in self.refused:
            raise BackendError("TensorRT 10.14.1 refuses the engine: magic tag does not match")
        path = standard_path(self.model)
        engine = CountedEngineDouble(path, manifest, self.drivers[-1])
        engine.factor = self.factor
        return engine

    def build_standard(self, trt: Any, onnx: bytes, most: Any, *arguments: Any) -> Any:
        assert most == {"keep": [48] * 8}
        assert onnx == standard_graph(self.model, load_manifest(self.model))
        self.builds += 1
        return f"engine {self.builds}".encode(), {"device_bytes": 1000, "build_seconds": 9.0}


@pytest.fixture
def adopted(transformer: Path, machine: Machine, tmp_path: Path, monkeypatch) -> TransformerMachine:
    folder = tmp_path / "adopted"
    shutil.copytree(transformer.parent, folder)
    adopted = TransformerMachine(folder / transformer.name, tmp_path / "engines")
    adopted.drivers = machine.drivers
    session = open_session(adopted.model, "cpu", 1)
    write_reference(session, adopted.model)
    session.close()
    for name in ("build_engine", "TensorRtEngine", "load_kernels"):
        monkeypatch.delattr(opening, name)  # nothing of the other way is asked
    monkeypatch.setattr(opening, "PyCudaDriver", adopted.driver)
    monkeypatch.setattr(opening, "StandardEngine", adopted.counted_engine)
    monkeypatch.setattr(opening, "build_standard_engine", adopted.build_standard)
    return adopted


def test_a_transformers_engine_is_built_checked_and_found_again(
    adopted: TransformerMachine,
) -> None:
    adopted.open().close()
    assert "building a TensorRT engine of small for Double: there is none yet" in adopted.said
    assert "the engine's numbers are the model's" in adopted.said[-1]
    adopted.said.clear()
    session = adopted.open("auto")
    assert session.backend == "tensorrt 10.14.1 fp16 Double, 9 rungs, CUDA graphs"
    session.close()
    assert adopted.said == []
    assert adopted.builds == 1


def test_a_transformers_wrong_numbers_are_refused_and_remembered(
    adopted: TransformerMachine,
) -> None:
    adopted.factor = 1.5
    for _ in range(2):
        with pytest.raises(BackendError, match=r"depth \(median\) deviates by 0\.5"):
            adopted.open()
    assert adopted.builds == 1


def test_another_graph_of_a_transformer_is_another_engine(adopted: TransformerMachine) -> None:
    adopted.open().close()
    path = standard_path(adopted.model)
    proto = onnx.load(path)
    proto.producer_version = "another"
    onnx.save(proto, path)
    adopted.open().close()
    assert adopted.builds == 2
    assert any("GPU kernels standard" in each for each in adopted.said)


def test_a_transformers_stored_engine_that_tensorrt_refuses_is_built_anew(
    adopted: TransformerMachine,
) -> None:
    adopted.open().close()
    adopted.refused.add(b"engine 1")
    adopted.open().close()
    assert adopted.builds == 2


def test_a_transformer_without_its_graph_is_refused_and_auto_takes_the_cpu(
    adopted: TransformerMachine,
) -> None:
    standard_path(adopted.model).unlink()
    with pytest.raises(BackendError, match=r"no small\.standard\.onnx beside it; `pag_ros adopt`"):
        adopted.open()
    session = adopted.open("auto", threads=1)
    assert session.backend.startswith("openvino")
    session.close()
    assert "device auto takes the CPU" in adopted.said[-1]
    assert "no small.standard.onnx beside it" in adopted.said[-1]


def test_a_stale_graph_is_refused_and_not_remembered(adopted: TransformerMachine) -> None:
    path = standard_path(adopted.model)
    right = path.read_bytes()
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, path)
    for _ in range(2):
        with pytest.raises(BackendError, match="the graph of another model than small"):
            adopted.open()
    assert not list((adopted.options.cache or Path()).glob("*.rejected"))
    path.write_bytes(right)
    adopted.open().close()


def test_a_node_with_a_transformer_says_what_does_not_go_there(
    adopted: TransformerMachine, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    adaptive = ControllerSettings("adaptive", 0.5)
    with pytest.raises(ParameterError, match="mode adaptive needs thresholds"):
        open_perception(adopted.model, settings=adaptive, engine=adopted.options)
    open_perception(adopted.model, engine=adopted.options).close()


def test_precisions_that_there_are_not_are_refused(machine: Machine) -> None:
    with pytest.raises(BackendError, match="precision must be one of fp16"):
        opening.open_tensorrt(machine.model, machine.options, "int8")


def test_a_missing_model_is_told_as_on_the_cpu(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        open_session(tmp_path / "none.onnx", "tensorrt", engine=machine.options)


def test_no_such_device(tiny_model: Path) -> None:
    with pytest.raises(ParameterError, match="device must be one of"):
        open_session(tiny_model, "tpu")


# What is missing.


@pytest.fixture
def with_gpu(monkeypatch) -> None:
    monkeypatch.setattr(requirements, "require_gpu", lambda: ORIN)


def module(monkeypatch, name: str, **contents: Any) -> None:
    made = ModuleType(name)
    made.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, made)


def broken(monkeypatch, tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)


def test_no_tensorrt(with_gpu: None, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    problem = tensorrt_problem()
    assert problem is not None
    assert "TensorRT" in problem
    assert "pip install" in problem


def test_a_jetson_is_told_of_jetpack(with_gpu: None, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements, "_JETSON", tmp_path)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "--system-site-packages" in str(tensorrt_problem())


@pytest.mark.parametrize(
    "code",
    [
        "raise ImportError('libnvinfer.so.10: cannot open shared object file')",
        "raise OSError('wrong ELF class')",
        "raise AttributeError('_ARRAY_API not found')",
        "import a_module_that_is_not_there",
    ],
)
def test_a_broken_tensorrt(with_gpu: None, monkeypatch, tmp_path: Path, code: str) -> None:
    broken(monkeypatch, tmp_path, "tensorrt", code)
    assert "TensorRT cannot be loaded (" in str(tensorrt_problem())


def test_an_old_tensorrt(with_gpu: None, monkeypatch) -> None:
    module(monkeypatch, "tensorrt", __version__="8.6.2")
    assert "TensorRT 8.6.2 is too old, 10." in str(tensorrt_problem())


def test_no_pycuda(with_gpu: None, monkeypatch) -> None:
    module(monkeypatch, "tensorrt", __version__="10.3.0")
    monkeypatch.setitem(sys.modules, "pycuda", None)
    assert "PyCUDA" in str(tensorrt_problem())


def test_an_old_pycuda(with_gpu: None, monkeypatch) -> None:
    module(monkeypatch, "tensorrt", __version__="10.3.0")
    module(monkeypatch, "pycuda", VERSION=(2019, 1), VERSION_TEXT="2019.1")
    assert "PyCUDA 2019.1 is too old" in str(tensorrt_problem())


def test_nothing_missing(with_gpu: None, monkeypatch) -> None:
    module(monkeypatch, "tensorrt", __version__="10.3.0")
    module(monkeypatch, "pycuda", VERSION=(2024, 1), VERSION_TEXT="2024.1")
    module(monkeypatch, "pycuda.driver")
    assert tensorrt_problem() is None


@pytest.mark.parametrize(
    ("gpu", "sentence"),
    [
        (Gpu("Xavier", 72, True, (12, 6), 8), "Xavier has compute capability 7.2; .* need 8.0"),
        (Gpu("Orin", 87, True, (11, 4), 16), "offers CUDA 11.4; 12.4 is needed"),
    ],
)
def test_an_old_gpu_or_driver(monkeypatch, gpu: Gpu, sentence: str) -> None:
    monkeypatch.setattr(requirements, "LibCuda", lambda: SimpleNamespace(gpu=lambda: gpu))
    with pytest.raises(BackendError, match=sentence):
        requirements.require_gpu()
