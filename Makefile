# Cyvive. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What is made and booted: amd64 or arm64.
ARCH ?= $(shell go env GOARCH)
# Regular expression that picks tests, for unit-test, root-test and vm-test.
RUN ?=

OUT := out/$(ARCH)
RUNFLAG = $(if $(RUN),-run '$(RUN)')
TOOL := go tool -modfile=hack/tools/go.mod
# One test of a kind is enough to make its package part of a tier.
packages_with = $$(grep -rlE --include=*_test.go '^func $(1)' internal cmd hack | xargs -r -n1 dirname | sort -u | sed 's|^|./|')

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:[^#]*## /\t/' | expand -t 16

.PHONY: setup
setup: ## install the programs that are missing (apt-get; asks sudo where needed)
	@go run ./hack/qemu setup --arch $(ARCH)

.PHONY: image
image: setup bin/nodectl ## build the node image into out/ARCH
	@cd images && go run ./cmd/mkimage build --arch $(ARCH)

.PHONY: lock
lock: setup ## move the pins of images/lock.json to the newest packages
	@cd images && go run ./cmd/mkimage lock --arch $(ARCH)

.PHONY: bin/nodectl bin/qemu
bin/nodectl:
	@CGO_ENABLED=0 go build -trimpath -o $@ ./cmd/nodectl
bin/qemu:
	@CGO_ENABLED=0 go build -trimpath -o $@ ./hack/qemu

.PHONY: preflight
preflight: setup
	@go run ./hack/qemu preflight --arch $(ARCH)

.PHONY: cluster
cluster: preflight image ## make a one-node cluster and fetch an answer from a pod on it
	@go run ./hack/qemu up --arch $(ARCH)

.PHONY: cluster-down
cluster-down: ## remove the cluster and all that it left
	@go run ./hack/qemu down

.PHONY: test
test: setup image check unit-test root-test vm-test ## run every test there is

.PHONY: unit-test
unit-test: ## run the tests that need nothing (RUN=regexp)
	go test $(RUNFLAG) ./api/... ./cmd/... ./hack/... ./internal/...
	go test -race -short $(RUNFLAG) ./internal/... ./cmd/...
	cd images && go test $(RUNFLAG) ./...

.PHONY: root-test
root-test: ## run the tests that need root, in namespaces of their own (RUN=regexp)
	@mkdir -p out/root-test
	@for package in $(call packages_with,TestRoot); do \
		go test -c -o out/root-test/$$(echo $$package | tr -d . | tr / -).test $$package; \
		echo "root-test $$package"; \
		(cd $$package && REQUIRE_ROOT=1 unshare $$([ $$(id -u) = 0 ] || echo --map-root-user) --mount --pid --net --ipc --uts --fork --mount-proc \
			$(CURDIR)/out/root-test/$$(echo $$package | tr -d . | tr / -).test -test.timeout 10m -test.v -test.run '$(or $(RUN),^TestRoot)'); \
	done

.PHONY: vm-test
vm-test: bin/qemu bin/nodectl ## run the tests that need a virtual machine (RUN=regexp)
	REQUIRE_VM=1 REQUIRE_ROOT=1 CGO_ENABLED=0 go test -p 1 -timeout 20m -exec '$(CURDIR)/bin/qemu exec --out $(CURDIR)/out --arch $(ARCH)' \
		-run '$(or $(RUN),^TestVM)' $(call packages_with,TestVM)
	REQUIRE_VM=1 go test -timeout 40m -v $(RUNFLAG) ./test/e2e/...

.PHONY: bench
bench: bin/qemu bin/nodectl ## measure a boot, and write out/bench.json
	@go run ./hack/bench --arch $(ARCH) --out out/bench.json

.PHONY: check
check: ## check format, vet, staticcheck, generated code, import rules and protos
	@echo "check: gofmt"; files=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); [ -z "$$files" ] || { echo "not formatted:"; echo "$$files"; exit 1; }
	@echo "check: vet"; go vet ./...; cd images && go vet ./...
	@echo "check: staticcheck"; $(TOOL) staticcheck ./...
	@echo "check: import rules"; go test ./internal/importrules
	@echo "check: protos"; $(TOOL) buf lint; $(TOOL) buf breaking --against '.git#ref=HEAD'
	@echo "check: generated code"; hack/generated.sh

.PHONY: generate
generate: ## write the generated code again
	@$(TOOL) buf generate

.PHONY: repro
repro: ## build the image twice and compare
	@cd images && go run ./cmd/mkimage repro --arch $(ARCH)

.PHONY: clean
clean: cluster-down ## remove all that was built; the cache stays
	@rm -rf out bin
