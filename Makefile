# make demo   a bag of real pictures through the real node, then a report to look at
# make test   style, types and all tests
# make fuzz   damaged files and messages of every kind, 1,000 each (FUZZ=), and a table of what came of them
# make soak   the node for a long time: 100,000 frames (SOAK=) of a camera that changes, 10,000 transitions
# make sanitize  the kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make test-arm  the kernels built for 64-bit Arm, their tests in an emulator (Debian on x86-64)
# make clean  forget the environment
#
# Both set up .venv by themselves (Linux x86-64, Python 3.11 to 3.13) and need neither ROS nor a GPU.
#   PYTHON=python3.12   the interpreter to make .venv with
#   TORCH=              do without torch: no type check, no tests of training and export
#   ARGS="-k depth"     more arguments for pytest, or for the demo

PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
    $$p -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
    && echo $$p && break; done)
comma := ,
# Pinned: the newest torch of another day may not have a build without CUDA beside it.
TORCH ?= torch==2.13.0
FUZZ := 1000
SOAK := 100000
VENV := .venv
TOOLS := $(filter-out %.yaml, $(wildcard tools/*))
BIN := $(VENV)/bin
# What an installation is made from; Python files are read where they are.
SOURCES := setup.py setup.cfg pyproject.toml $(wildcard pag_ros/kernels/native/*)

# A sourced ROS 2 would mix its Python packages and libraries with those of .venv.
unexport PYTHONPATH LD_LIBRARY_PATH ROS_DISTRO RMW_IMPLEMENTATION ROS_DOMAIN_ID
export AMENT_PREFIX_PATH := $(CURDIR)/$(VENV)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Threads of torch that spin while they wait stand still on a busy machine.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test test-arm fuzz soak sanitize clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/pag_ros demo $(ARGS)

test: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(if $(TORCH),$(BIN)/mypy && $(BIN)/mypy --scripts-are-modules $(TOOLS))
	$(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS)

fuzz: $(VENV)/.test
	PAG_ROS_FUZZ=$(FUZZ) $(BIN)/pytest test/fuzz $(ARGS)

soak: $(VENV)/.test
	PAG_ROS_SOAK=$(SOAK) $(BIN)/pytest -s test/ros/test_soak_over_dds.py $(ARGS)

# Python itself is not instrumented, so the sanitizer's library has to be there before it.
sanitize: $(VENV)/.test
	PAG_ROS_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-base build/sanitize \
	    --build-lib build/sanitize/lib
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/sanitize/lib PYTHONMALLOC=malloc \
	    $(BIN)/pytest test/kernels $(ARGS)

test-arm: | $(BIN)/pip
	$(BIN)/python tools/arm_check $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.demo: $(SOURCES) | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[cpu,eval,ros]'
	touch $@

$(VENV)/.test: $(SOURCES) | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[cpu,eval,ros,dev,nvidia-check$(if $(TORCH),$(comma)train)]' $(TORCH)
	touch $@

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "pag_ros needs Python 3.11, 3.12 or 3.13 with its venv module" \
	    "(Debian and Ubuntu: apt install python3-venv); name one: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
