# Two commands matter: `make demo` shows the card at work, `make test` proves it.
GO      ?= go
GOFLAGS += -trimpath
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)

.PHONY: all build check test demo bench fuzz vm-assets train clean
all: build

build: ## binaries into bin/
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build $(GOFLAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	@scripts/build-ringref

check: ## vet, format, import arrows, where unsafe and syscalls may be
	@scripts/check

test: build ## every tier; what cannot run says SKIP and why
	@scripts/test

demo: build ## an answer streamed from the emulated card, then what it cost
	@bin/hc1ctl demo

bench: build ## the budgets of the design, as ratios measured in one run
	@scripts/bench

fuzz: ## every fuzz target for FUZZTIME (default 1m) each
	@FUZZTIME=$${FUZZTIME:-1m} scripts/fuzz

vm-assets: ## what the VM tier needs: a QEMU, a stock kernel, one with iommufd (some 15 minutes, cached)
	@scripts/vm-assets --make >/dev/null

train: ## train the default model again (about an hour on two cores)
	@scripts/train/train.sh

clean:
	rm -rf bin
