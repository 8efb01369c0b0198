# make demo   a bag of real pictures through the real node, then a report to look at
# make test   style, types and all tests
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
VENV := .venv
BIN := $(VENV)/bin
METADATA := setup.py setup.cfg pyproject.toml

# A sourced ROS 2 would mix its Python packages and libraries with those of .venv.
unexport PYTHONPATH LD_LIBRARY_PATH ROS_DISTRO RMW_IMPLEMENTATION ROS_DOMAIN_ID
export AMENT_PREFIX_PATH := $(CURDIR)/$(VENV)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Threads of torch that spin while they wait stand still on a busy machine.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/pag_ros demo $(ARGS)

test: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(if $(TORCH),$(BIN)/mypy)
	$(BIN)/pytest $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.demo: $(METADATA) | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[cpu,eval,ros]'
	touch $@

$(VENV)/.test: $(METADATA) | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[cpu,eval,ros,dev$(if $(TORCH),$(comma)train)]' $(TORCH)
	touch $@

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "pag_ros needs Python 3.11, 3.12 or 3.13 with its venv module" \
	    "(Debian and Ubuntu: apt install python3-venv); name one: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
