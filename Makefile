# `make help` lists what there is. All of it works on a fresh Debian 12: missing packages are installed.

PYTHON = /usr/bin/python3
PREFIX = /usr/local
DESTDIR =
SUITE =
SCHEMA =
SEED =

# What `make run` runs: a look around from inside a container made of nothing but this host's own files.
LOOK = id; echo; \
	hostname; echo; \
	echo "processes:"; ps -A -o pid,ppid,user,args 2>/dev/null || ps; echo; \
	echo "mounts: $$(wc -l </proc/self/mountinfo)"; \
	echo "network: $$(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d "\n")"; \
	grep -E "^(Cap(Eff|Bnd)|NoNewPrivs|Seccomp):" /proc/self/status; echo; \
	echo "environment:"; env; echo; \
	ls -l /
ARGS = try -- sh -c '$(LOOK)'

CC = gcc
STATIC_CC = musl-gcc
WERROR = -Werror
flags = $(shell grep -v '^\#' native/$(1))
cflags := $(call flags,cflags) $(WERROR)
static := $(call flags,static-flags)
shared := -shared -fPIC -Wl,-z,relro,-z,now -Wl,-z,noexecstack
include = $(shell $(PYTHON) -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))')

inner := src/boxes/libexec/inner
syscalls := src/boxes/linux/_syscalls.abi3.so
flag_files := Makefile native/cflags native/static-flags

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: help build run test test-engines test-vm security security-full fuzz-plan soak-python oracle lint format bench \
	conformance install uninstall wheel deb sanitize cross-aarch64 clean build-dependencies test-dependencies

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' Makefile | expand -t 16

# ---- build ----

build: bin/box $(inner) $(syscalls) ## a runnable bin/box (the default)
	@$(PYTHON) -m compileall -q src/boxes
	@$(PYTHON) -X no_debug_ranges src/boxes/bundle.py src/boxes

build-dependencies:
	@scripts/install-dependencies build

bin/box: native/launcher.c $(flag_files) | build-dependencies
	@mkdir -p $(@D)
	$(STATIC_CC) $(cflags) $(static) -o $@ $<

$(inner): native/inner.c $(flag_files) | build-dependencies
	@mkdir -p $(@D)
	$(STATIC_CC) $(cflags) $(static) -o $@ $<

# Written beside it and renamed: an interpreter may be using the old one.
$(syscalls): native/syscalls.c $(flag_files) | build-dependencies
	$(CC) $(cflags) $(include) $(shared) -o $@.new $<
	@mv $@.new $@

run: build ## bin/box with ARGS; by default a look around in a container
	@bin/box $(ARGS)

wheel: .venv/ready | build-dependencies ## dist/boxes-*.whl
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m pip wheel -q --no-deps --no-build-isolation -w dist .

deb: build-dependencies ## dist/boxes-runtime_*.deb, a package for Debian
	@scripts/make-deb

# ---- check ----

test-dependencies:
	@scripts/install-dependencies test

.venv/ready: tests/requirements.txt | test-dependencies
	test -x .venv/bin/pip || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

test: build .venv/ready test-dependencies ## all tests; TESTS= chooses, as arguments of pytest
ifneq ($(TESTS),)
	.venv/bin/python -m pytest $(TESTS)
else
	.venv/bin/python -m pytest tests/unit tests/kernel tests/packaging
	.venv/bin/python -m pytest tests/architecture tests/integration tests/security
endif

test-engines: build .venv/ready ## podman, containerd, dockerd and buildah, with runc and with box
	@scripts/install-dependencies engines
	scripts/test-engines $(TESTS)

security: build .venv/ready test-dependencies ## attacks, faults and kills: a sample, and a table
	@scripts/install-dependencies fuzz
	scripts/security sample $(SEED)

security-full: build .venv/ready test-dependencies ## all of them, an hour and a half
	@scripts/install-dependencies fuzz
	scripts/security full $(SEED)

fuzz-plan: build-dependencies ## libFuzzer on the plans that inner reads
	@scripts/install-dependencies fuzz
	scripts/fuzz-plan

soak-python: build .venv/ready ## many containers from one Python process
	$(PYTHON) scripts/soak-python
	BOXES_FRAMES=1000000 .venv/bin/python -m pytest tests/integration/test_api_zygote.py -k malformed

lint: .venv/ready build-dependencies ## ruff, mypy and gcc's analyzer
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	@for file in native/*.c; do \
		echo "gcc -fanalyzer $$file"; \
		$(CC) $(cflags) $(include) -fanalyzer -S -o /dev/null $$file || exit 1; \
	done

format: .venv/ready ## write the Python sources as `lint` wants them
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

bench: build ## side by side with runc and crun, and others; build/bench.svg is a picture
	@scripts/install-dependencies bench engines
	@mkdir -p build
	$(PYTHON) bench/run $(ARGUMENTS)
	$(PYTHON) bench/api --svg build/bench.svg
	$(PYTHON) bench/network
	$(PYTHON) bench/engines

conformance: build ## the upstream validation suite, built in SUITE
	@test -n "$(SUITE)" || { echo "usage: make conformance SUITE=DIR (a built checkout of runtime-tools)" >&2; exit 2; }
	$(PYTHON) scripts/conformance $(SUITE)

test-vm: build .venv/ready ## cgroup v2 and systemd, in a virtual machine
	scripts/test-vm $(TESTS)

oracle: build .venv/ready ## our validator against the specification's schema, in SCHEMA
	@test -n "$(SCHEMA)" || { echo "usage: make oracle SCHEMA=DIR (schema/ of a checkout of runtime-spec)" >&2; exit 2; }
	scripts/oracle $(SCHEMA)

# The address and undefined behaviour sanitizers need a dynamic C library.
sanitize: build-dependencies ## the C parts with sanitizers, in build/sanitize
	@mkdir -p build/sanitize
	for name in inner launcher; do \
		$(CC) $(sanitizers) -o build/sanitize/$$name native/$$name.c || exit 1; \
	done
	$(CC) $(sanitizers) $(include) -shared -fPIC -o build/sanitize/_syscalls.abi3.so native/syscalls.c
sanitizers = $(filter-out -D_FORTIFY_SOURCE=2,$(cflags)) -g -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=undefined

# Compiles only. There are no Python headers for another machine; the one that differs between machines is the same on
# all of this word size.
cross-aarch64: ## show that the C parts compile for aarch64
	@scripts/install-dependencies cross
	@mkdir -p $(aarch64_headers)
	@cp /usr/include/$(shell $(CC) -print-multiarch)/$(notdir $(aarch64_headers))/pyconfig.h $(aarch64_headers)
	aarch64-linux-gnu-gcc $(cflags) $(static) -o build/aarch64/box native/launcher.c
	aarch64-linux-gnu-gcc $(cflags) $(static) -o build/aarch64/inner native/inner.c
	aarch64-linux-gnu-gcc $(cflags) -Ibuild/aarch64 $(include) $(shared) -o build/aarch64/_syscalls.abi3.so native/syscalls.c
aarch64_headers = $(patsubst -I/usr/include/%,build/aarch64/aarch64-linux-gnu/%,$(include))

# ---- install ----

install: build ## into PREFIX, /usr/local by default; DESTDIR is honoured
	@$(PYTHON) scripts/install-files --destdir "$(DESTDIR)" "$(PREFIX)"

uninstall: ## remove from PREFIX what install put there
	@$(PYTHON) scripts/install-files --destdir "$(DESTDIR)" --remove "$(PREFIX)"

clean: ## remove what was built
	rm -rf bin build dist $(inner) $(syscalls) .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +
