# Martlet's tasks. `make help` lists them.

SWIFT ?= swift
PREFIX ?= /usr/local
PORT ?= 6379
# Minutes that `make soak` runs.
MINUTES ?= 30
# Commands that `make fuzz` sends per oracle, and its seed (0: a new one each time).
COMMANDS ?= 200000
SEED ?= 0
PYTEST = .venv/bin/python -m pytest -p no:cacheprovider -q
SWIFT_SOURCES = Sources Tests Benchmarks Package.swift

.PHONY: help build run test swift-tests wire-tests test-apps bench baselines install lint format fuzz soak tsan asan clean

help:
	@echo "make run               build and serve 127.0.0.1:$(PORT), in memory only"
	@echo "make test              install what the tests need and run all of them"
	@echo "make test-apps         job queues, locks and limiters from PyPI do their work"
	@echo "make baselines         instructions per command and bytes per key (UPDATE=1 records them)"
	@echo "make bench             measure against Debian's redis-server"
	@echo "make install PREFIX=   install the server under PREFIX ($(PREFIX))"
	@echo "make lint              swift format lint --strict; 'make format' repairs"
	@echo "make fuzz              long differential and mutation fuzzing (COMMANDS=, SEED=)"
	@echo "make soak              mixed load with the checkers running (MINUTES=)"
	@echo "make tsan, make asan   the tests under the thread and the address sanitizer"

# One file that starts on a machine without Swift: hence the static runtime.
build:
	@command -v $(SWIFT) >/dev/null || { \
	    echo "make: '$(SWIFT)' not found: install a Swift 6.2 (or newer) toolchain" >&2; exit 1; }
	@Tests/install-lua
	$(SWIFT) build -c release --static-swift-stdlib --product martlet

run: build
	@echo "Serving 127.0.0.1:$(PORT); nothing is written to disk; Ctrl-C ends it."
	.build/release/martlet --bind 127.0.0.1 --port $(PORT)

test:
	@Tests/run-tests

# A scratch path of its own: -enable-testing would otherwise rebuild the release binary each time.
swift-tests:
	@Tests/install-lua
	$(SWIFT) test -c release -Xswiftc -enable-testing --disable-xctest --scratch-path .build-tests

wire-tests:
	$(PYTEST) Tests/Wire

# Job queues, locks and limiters from PyPI, against Martlet and against redis-server 7.0, which shows that the tests are right.
test-apps: build
	Tests/Apps/install
	MARTLET_BINARY=.build/release/martlet .venv-apps/bin/python -m pytest -p no:cacheprovider -q -rs Tests/Apps

# Instructions per command and bytes per key against Benchmarks/Baselines; UPDATE=1 records new ones.
baselines: build
	python3 Benchmarks/Baselines/baselines.py $(if $(UPDATE),--update)

bench:
	@Tests/install-lua
	$(SWIFT) build -c release --static-swift-stdlib --product martlet
	$(SWIFT) build -c release --static-swift-stdlib --product martlet-benchmark
	Benchmarks/compare

install: build
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/doc/martlet"
	install -m 755 .build/release/martlet "$(DESTDIR)$(PREFIX)/bin/martlet"
	install -m 644 LICENSE README.md protocol.md "$(DESTDIR)$(PREFIX)/share/doc/martlet/"
	@echo "Installed $(DESTDIR)$(PREFIX)/bin/martlet"

lint:
	$(SWIFT) format lint --strict --recursive $(SWIFT_SOURCES)

format:
	$(SWIFT) format format --in-place --recursive $(SWIFT_SOURCES)

# Draws new seeds, one for all three; `make test` repeats its own, except where it hunts for races.
fuzz: build
	@Tests/install-tools
	@seed=$(SEED); [ "$$seed" != 0 ] || seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); \
	echo "make fuzz SEED=$$seed COMMANDS=$(COMMANDS)"; \
	.venv/bin/python Tests/Wire/differential.py --commands $(COMMANDS) --seed $$seed --oracle all && \
	for limit in 1 1000000000; do \
	    .venv/bin/python Tests/Wire/differential.py --commands $(COMMANDS) --seed $$seed \
	        --small-limit $$limit || exit 1; \
	done && \
	.venv/bin/python Tests/Wire/mutation.py --frames 1000000 --seed $$seed && \
	MARTLET_FUZZ_FRAMES=1000000 MARTLET_TEST_SEED=$$seed ASAN_OPTIONS=detect_leaks=0 $(SWIFT) test \
	    --disable-xctest --filter 'BaseTests|EngineTests' --sanitize=address --scratch-path .build-asan && \
	MARTLET_FUZZ_FRAMES=100000 MARTLET_TEST_SEED=$$seed ASAN_OPTIONS=detect_leaks=0 $(SWIFT) test \
	    --disable-xctest --filter PersistenceTests.FuzzTests --sanitize=address \
	    --scratch-path .build-asan && \
	MARTLET_FUZZ_FRAMES=1000000 MARTLET_TEST_SEED=$$seed MARTLET_FUZZ_CRASHES=yes $(SWIFT) test \
	    -c release -Xswiftc -enable-testing --disable-xctest \
	    --filter 'LogCrashTests|PersistenceTests.FuzzTests' --scratch-path .build-tests

soak: build
	@Tests/install-tools
	.venv/bin/python Tests/Wire/consumers.py
	.venv/bin/python Tests/Wire/fan_out.py --seconds 120
	.venv/bin/python Tests/Wire/kill_cycles.py --cycles 200
	.venv/bin/python Tests/Wire/kill_cycles.py --cycles 60 --fsync everysec
	.venv/bin/python Tests/Wire/runaway_scripts.py
	.venv/bin/python Tests/Wire/soak.py --minutes $(MINUTES)

# The package's own tests, and then a share of the wire tests against the server that they built.
# Leaks are looked for by growth (soak, mutation test): what lives until the exit is not one, and the
# sanitizer cannot follow the keyspace's packed pointers.
SANITIZED = $(SWIFT) test --disable-xctest --skip BenchmarkTests --skip TidyTests
SANITIZED_WIRE = Tests/Wire/test_concurrency.py Tests/Wire/test_hostile_framing.py \
    Tests/Wire/test_mutation.py Tests/Wire/test_transcripts.py Tests/Wire/test_blocking.py

tsan:
	@Tests/install-lua
	$(SANITIZED) --sanitize=thread --scratch-path .build-tsan
	MARTLET_BINARY=.build-tsan/debug/martlet WIRE_SHARE=0.2 $(PYTEST) $(SANITIZED_WIRE)

asan:
	@Tests/install-lua
	ASAN_OPTIONS=detect_leaks=0 $(SANITIZED) --sanitize=address --scratch-path .build-asan
	MARTLET_BINARY=.build-asan/debug/martlet WIRE_SHARE=0.2 $(PYTEST) $(SANITIZED_WIRE)

clean:
	rm -rf .build .build-tests .build-tsan .build-asan
