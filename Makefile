# The commands of this project. `make` alone lists them; docs/HACKING.md shows them in use.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

GO       ?= go
PACKAGES ?= ./...
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# How many packages are tested at a time: their tests wait for most of the time that they take.
JOBS ?= $(shell echo $$((2 * $$(nproc))))

# How long one test binary may take, how long each fuzz target runs and how long all of them may, how many seeds the
# simulated kernel goes through, and how often and how long each benchmark runs.
TIMEOUT   ?= 20m
FUZZTIME  ?= 10s
FUZZTOTAL ?= 10m
SEEDS     ?= 10000
BENCH     ?= .
BENCHTIME ?= 500ms
COUNT     ?= 6

# How the experiments are run: --quick is small numbers. `make lab LAB=` makes the full run, which takes 40 minutes.
# Those that have a result in LABOUT already are left out with LAB=--resume.
LAB    ?= --quick
LABOUT ?= lab

# What a server is started with, and who keeps the long experiments.
CONFIG  ?= examples/site/myriad.yaml
MILLION ?= ./examples/million

# Every Go file of this module that people wrote; fixtures and other modules are left alone.
SOURCES = $(shell find . -name '*.go' -not -path './bin/*' -not -path './out/*' -not -path './tools/*' \
             -not -path '*/testdata/*')

TOOLS := bin/tools

##@ Run

.PHONY: build
build: ## compile bin/myriad
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/myriad ./cmd/myriad

.PHONY: serve
serve: build ## serve the example site on 127.0.0.1:8080
	exec bin/myriad serve --config $(CONFIG)

##@ Test

.PHONY: test
test: needs ## install what the tests need, then run them all
	@scripts/test -p $(JOBS) -timeout $(TIMEOUT) $(PACKAGES)

.PHONY: needs
needs: # what tests call besides Go
	@scripts/needs curl wrk ab siege redis-server gunicorn nginx python3 python3-websockets ip nft promtool chromium

.PHONY: race
race: needs ## run all tests under the race detector, the long ones shorter
	@scripts/needs gcc
	@CGO_ENABLED=1 scripts/test -p $(JOBS) -race -short -timeout $(TIMEOUT) $(PACKAGES)

.PHONY: sim
sim: ## run whole servers on the simulated kernel, SEEDS=10000
	@packages=$$(scripts/having 'func Test[A-Za-z0-9_]*Sim'); set -x; \
	SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 6h -run Sim $$packages

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME=10s, all together at most FUZZTOTAL=10m
	@scripts/fuzz $(FUZZTIME) $(FUZZTOTAL)

.PHONY: matrix
matrix: ## run the behaviour suite on every driver and model and print the table
	@mkdir -p out
	@$(GO) test -json -count=1 -timeout $(TIMEOUT) -run '^TestMatrix$$' ./internal/matrix 2>&1 | \
		$(GO) run ./internal/matrix/table | tee out/matrix.md

.PHONY: million
million: ## hold a million connections in one process (minutes; needs some 20 GB of memory)
	$(GO) run $(MILLION)

.PHONY: lasting
lasting: ## reload, upgrade, scale and kill under load (half an hour), RELOADS=100 UPGRADES=20 KILLS=20 SCALES=20
	RELOADS=$(or $(RELOADS),100) UPGRADES=$(or $(UPGRADES),20) KILLS=$(or $(KILLS),20) SCALES=$(or $(SCALES),20) \
		OUT=$(or $(OUT),$(CURDIR)/out) $(GO) test -count=1 -v -timeout 6h ./internal/proof/lasting

##@ Measure

.PHONY: bench
bench: ## run the benchmarks COUNT=6 times into out/bench.txt; the run before becomes out/bench-old.txt
	@mkdir -p out
	@if [ -s out/bench.txt ]; then mv out/bench.txt out/bench-old.txt; fi
	@packages=$$(scripts/having 'func Benchmark'); set -x; \
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) -count $(COUNT) -timeout 2h -p 1 \
		$$packages | tee out/bench.txt

.PHONY: bench-compare
bench-compare: $(TOOLS)/benchstat ## compare out/bench-old.txt with out/bench.txt
	@for f in out/bench-old.txt out/bench.txt; do \
		[ -s $$f ] || { echo "bench-compare: no $$f: run make bench before the change and after it" >&2; exit 1; }; done
	$(TOOLS)/benchstat out/bench-old.txt out/bench.txt

.PHONY: lab
lab: build ## run every experiment in small (5 minutes at most) and write lab/report.html; LAB= for the full run
	@scripts/needs strace wrk ab siege redis-server ip nft
	bin/myriad lab run $(LAB) --out $(LABOUT)

.PHONY: claims
claims: build ## write docs/seeds.md from the results of full runs, LABOUT=docs/lab/DATE
	@mkdir -p out
	bin/myriad lab claims --out $(LABOUT) >out/seeds.md && mv out/seeds.md docs/seeds.md

##@ Check

.PHONY: check
check: ## everything that CI runs, with the time of each step
	@scripts/check build cross vet lint format-check tidy-check test race fuzz

.PHONY: cross
cross: # the other machine that we promise to compile for
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) build ./...

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## golangci-lint, pinned
	$(TOOLS)/golangci-lint run --timeout 10m ./...

.PHONY: format-check
format-check: $(TOOLS)/gofumpt ## list the files that are not formatted
	@bad=$$($(TOOLS)/gofumpt -l $(SOURCES)); \
	if [ -n "$$bad" ]; then echo "not formatted: run make format" >&2; echo "$$bad" >&2; exit 1; fi

.PHONY: format
format: $(TOOLS)/gofumpt ## format them
	$(TOOLS)/gofumpt -l -w $(SOURCES)

.PHONY: tidy-check
tidy-check: ## module file and house rules
	$(GO) mod tidy -diff
	$(GO) test -count=1 ./internal/tidy

##@ Keep house

.PHONY: clean
clean: ## remove bin and out
	rm -rf bin out

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# Tools are pinned by tools/go.mod, a module of its own, so that nobody who imports this one gets to see them.
$(TOOLS)/%: tools/go.mod tools/go.sum
	@mkdir -p $(TOOLS)
	cd tools && GOBIN="$(CURDIR)/$(TOOLS)" $(GO) install -trimpath -ldflags '-s -w' \
		"$$($(GO) list -f '{{.ImportPath}}' tool | grep '/$*$$')"
	@touch $@
