"""From a model to a running TensorRT session: requirements, engine, check of its numbers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pag_ros import __version__
from pag_ros.errors import BackendError, ModelError
from pag_ros.kernels.gpu.programs import StampSpec
from pag_ros.kernels.gpu.store import kernels_path, load_kernels
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.runtime.onnx_precheck import is_transformer
from pag_ros.runtime.session import Session
from pag_ros.runtime.tensorrt.api import TensorRt
from pag_ros.runtime.tensorrt.builder import (
    PRECISIONS,
    Plugins,
    build_engine,
    build_standard_engine,
    kernels_of,
    plugin_kinds,
)
from pag_ros.runtime.tensorrt.driver import MIB, Driver, OutOfMemoryError, PyCudaDriver
from pag_ros.runtime.tensorrt.engine import TensorRtEngine
from pag_ros.runtime.tensorrt.engine_cache import Build, BuiltEngine, EngineCache, EngineKey
from pag_ros.runtime.tensorrt.graph import EngineGraph, engine_graph
from pag_ros.runtime.tensorrt.libcuda import Gpu
from pag_ros.runtime.tensorrt.options import EngineOptions
from pag_ros.runtime.tensorrt.progress import Report, log_lines
from pag_ros.runtime.tensorrt.requirements import import_tensorrt, tensorrt_problem
from pag_ros.runtime.tensorrt.self_check import check_engine, reference_path
from pag_ros.runtime.tensorrt.session import TensorRtSession
from pag_ros.runtime.tensorrt.standard_engine import StandardEngine
from pag_ros.runtime.tensorrt.standard_graph import require_standard, standard_graph
from pag_ros.runtime.tensorrt.standard_session import StandardSession

_ROUTES = {"aot": "kernels compiled into the engine", "class": "kernels launched from Python"}
"""Kinds of plugins, for people."""
STANDARD = "standard"
"""What stands in a key for the kind of plugins where there are none."""


def open_tensorrt(
    model: Path, options: EngineOptions | None = None, precision: str = PRECISIONS[0]
) -> tuple[Session, BuiltEngine]:
    """A session on this machine's GPU; its engine is built if there is none yet.

    Args:
        model: path of the ONNX file, beside it its manifest and kernels, or the graph in standard
            operators of a transformer.
        options: how the engine is obtained.
        precision: of the engine, one of `PRECISIONS`.

    Raises:
        ModelError: the model or its manifest is missing, damaged or unfit.
        BackendError: something that it needs is missing, the GPU has too little memory, or the
            engine does not compute what the model does; the text says which and what to do.
    """
    if precision not in PRECISIONS:
        raise BackendError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    manifest = load_manifest(model)
    problem = tensorrt_problem()
    if problem is not None:
        raise BackendError(f"{problem}; `pag_ros doctor` lists all that is missing")
    trt, options = import_tensorrt(), options or EngineOptions()
    if is_transformer(model):
        return _StandardOpening(model, manifest, trt, options, precision).run()
    kinds = plugin_kinds(trt)
    failures = []
    for plugins in kinds:
        try:
            return _PluginOpening(model, manifest, trt, options, precision, plugins).run()
        except OutOfMemoryError:
            raise
        except BackendError as error:
            if options.is_stopped() or len(kinds) == 1:
                raise
            failures.append(f"{_ROUTES[plugins.kind]}: {error}")
            if plugins is not kinds[-1]:
                options.say(f"{failures[-1]}; trying {_ROUTES[kinds[-1].kind]}")
    raise BackendError("; ".join(failures))


def engine_key(
    manifest: Manifest, model: Path, precision: str, tensorrt: str, kind: str, gpu: Gpu
) -> EngineKey:
    """Everything that the engine of a model depends on.

    Args:
        kind: of plugins, see `builder.Plugins`, or `STANDARD`.

    Raises:
        BackendError: the model has no kernels beside it, or no graph in standard operators.
    """
    source = require_standard(model) if kind == STANDARD else kernels_path(model)
    try:
        checksum = hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError as error:
        raise BackendError(
            f"{source}: no GPU kernels there ({error.strerror}); make them with "
            "`pag_ros build kernels MODEL`, on any machine with Triton"
        ) from error
    return EngineKey(
        model=manifest.name,
        model_sha256=manifest.sha256,
        tensorrt=tensorrt,
        gpu=gpu.name,
        capability=gpu.capability,
        precision=precision,
        size=f"{manifest.width}x{manifest.height}",
        kernels=f"{kind} {checksum[:16]}",
        multiprocessors=gpu.multiprocessors,
        pag_ros=__version__,
    )


class _Loaded(Protocol):
    """An engine that TensorRT has loaded."""

    def close(self) -> None: ...


_Engine = TypeVar("_Engine", bound=_Loaded)


class _Opening(ABC, Generic[_Engine]):
    """Opens a session of a model; what kind of engine it runs on the derived classes say."""

    kind: str
    """See `engine_key`."""

    def __init__(
        self,
        model: Path,
        manifest: Manifest,
        trt: TensorRt,
        options: EngineOptions,
        precision: str,
    ) -> None:
        self._model, self._manifest, self._trt = model, manifest, trt
        self._options = options
        self._precision = precision
        self._cache = EngineCache(options.cache, options.say)

    def run(self) -> tuple[Session, BuiltEngine]:
        driver = PyCudaDriver()
        try:
            key = engine_key(
                self._manifest,
                self._model,
                self._precision,
                self._trt.__version__,
                self.kind,
                driver.gpu,
            )
            with driver.active():
                self._register(driver)
                engine, built = self._load(driver, key)
        except BaseException:
            driver.close()
            raise
        backend = f"tensorrt {self._trt.__version__} {self._precision} {driver.gpu.name}"
        session = self._session(driver, engine, backend)  # It closes both if it fails.
        try:
            return session, self._checked(session, key, built)
        except BaseException:
            session.close()
            raise

    def _register(self, driver: Driver) -> None:
        """Make known to TensorRT what has to be before an engine is read: nothing, as a rule."""

    @abstractmethod
    def _prepared(self, driver: Driver, report: Report) -> Build:
        """What builds an engine. All that can be missing is found out before TensorRT is asked."""

    @abstractmethod
    def _deserialized(self, content: bytes) -> _Engine:
        """Load an engine."""

    @abstractmethod
    def _session(self, driver: PyCudaDriver, engine: _Engine, backend: str) -> Session:
        """Make a session of it, which closes both; they are closed as well if that fails."""

    def _load(self, driver: Driver, key: EngineKey) -> tuple[_Engine, BuiltEngine]:
        """The stored engine, loaded; a new one if there is none or TensorRT refuses it."""
        built = self._obtain(driver, key, self._options.force)
        is_stored = not built.reason
        if is_stored:
            try:
                return self._engine(driver, built), built
            except OutOfMemoryError:
                raise
            except BackendError as error:
                self._cache.discard(key, str(error))
            built = self._obtain(driver, key, force=True)
        with self._rejecting(key):
            return self._engine(driver, built), built

    def _obtain(self, driver: Driver, key: EngineKey, force: bool) -> BuiltEngine:
        options = self._options

        def build() -> tuple[bytes, dict[str, Any]]:
            build_it = self._prepared(driver, options.report or log_lines(options.say))
            with self._rejecting(key):
                return build_it()

        return self._cache.obtain(key, build, force)

    def _engine(self, driver: Driver, built: BuiltEngine) -> _Engine:
        works_in = built.summary.get("device_bytes", 0)
        need = len(built.content) + (works_in if isinstance(works_in, int) else 0)
        free = driver.free_bytes()
        if free < need:
            raise OutOfMemoryError(
                f"not enough GPU memory: the engine needs {need / MIB:.0f} MiB, "
                f"{free / MIB:.0f} MiB are free; end other programs on the GPU (nvidia-smi lists "
                "them)"
            )
        return self._deserialized(built.content)

    def _checked(self, session: Session, key: EngineKey, built: BuiltEngine) -> BuiltEngine:
        """The engine, if its numbers are found right now or were before; else it is discarded."""
        if built.checked:
            return built
        if not reference_path(self._model).exists():
            self._options.say(
                f"the engine's numbers are not checked: there is no {reference_path(self._model)}; "
                "`pag_ros build reference MODEL` writes it"
            )
            return built
        try:
            with self._rejecting(key):
                self._options.say(check_engine(session, self._model))
        except ModelError as error:
            raise BackendError(f"the engine's numbers cannot be checked: {error}") from error
        return self._cache.confirm(key, built) if built.path else replace(built, checked=True)

    @contextmanager
    def _rejecting(self, key: EngineKey) -> Iterator[None]:
        """Remember what fails in here, since it would fail again at the next start. Want of memory
        is not remembered, nor is a build that somebody has ended."""
        try:
            yield
        except OutOfMemoryError:
            raise
        except BackendError as error:
            if not self._options.is_stopped():
                self._cache.reject(key, str(error))
            raise


class _PluginOpening(_Opening[TensorRtEngine]):
    """Opens a session of a model whose gated blocks are our kernels, with one kind of plugins."""

    def __init__(
        self,
        model: Path,
        manifest: Manifest,
        trt: TensorRt,
        options: EngineOptions,
        precision: str,
        plugins: Plugins,
    ) -> None:
        super().__init__(model, manifest, trt, options, precision)
        self.kind = plugins.kind
        self._plugins = plugins
        self._graph: EngineGraph | None = None

    def _register(self, driver: Driver) -> None:
        """Register plugins that we launch: they have to be known before an engine is read."""
        if self._plugins.needed_to_run:
            kernels = kernels_of(self._model, self._engine_graph(), driver.gpu)
            self._plugins.register(self._engine_graph(), kernels)

    def _prepared(self, driver: Driver, report: Report) -> Build:
        graph = self._engine_graph()
        kernels = kernels_of(self._model, graph, driver.gpu)
        given = (self._trt, self._plugins, graph, kernels, driver.free_bytes(), report)
        return lambda: build_engine(*given, self._options.is_stopped)

    def _deserialized(self, content: bytes) -> TensorRtEngine:
        return TensorRtEngine(self._trt, content, self._manifest)

    def _session(self, driver: PyCudaDriver, engine: TensorRtEngine, backend: str) -> Session:
        try:
            path, gpu = kernels_path(self._model), driver.gpu
            stored = load_kernels(path, [StampSpec()], gpu.capability, gpu.multiprocessors)
            (stamp,) = stored.values()
        except BaseException:
            engine.close()
            driver.close()
            raise
        return TensorRtSession(self._manifest, driver, engine, stamp, backend)

    def _engine_graph(self) -> EngineGraph:
        if self._graph is None:
            self._graph = engine_graph(self._model, self._plugins.version)
        return self._graph


class _StandardOpening(_Opening[StandardEngine]):
    """Opens a session of a transformer, whose engine has TensorRT's own operators alone."""

    kind = STANDARD

    def _prepared(self, driver: Driver, report: Report) -> Build:
        graph = standard_graph(self._model, self._manifest)
        most = {"keep": [block.pixels for block in self._manifest.blocks]}
        given = (self._trt, graph, most, driver.free_bytes(), report)
        return lambda: build_standard_engine(*given, self._options.is_stopped)

    def _deserialized(self, content: bytes) -> StandardEngine:
        return StandardEngine(self._trt, content, self._manifest)

    def _session(self, driver: PyCudaDriver, engine: StandardEngine, backend: str) -> Session:
        return StandardSession(self._manifest, driver, engine, backend, self._options.say)
