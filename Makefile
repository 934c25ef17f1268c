# Needs Go and make alone; every other tool is built here, at the version named, into .tools.

GOLANGCI_LINT_VERSION := v2.15.0
GORELEASER_VERSION := v2.13.0

# The version is that of the last tag, and v1.0.0 where there is none; 1 is the API's.
VERSION ?= $(or $(shell git describe --tags --abbrev=0 --match 'v1.*' 2>/dev/null),v1.0.0)
ADDR ?= :8080
FUZZTIME ?= 30s
DATA ?= ../shared/data
GALLERY ?= gallery
PHOTOS ?=
QEMU ?= qemu-aarch64

TOOLS := .tools
LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
ARM64_TESTS := ./inference/kernels ./inference/graph
LDFLAGS := -s -w -X main.version=$(VERSION)

# Never cgo; only the race detector needs it. Without the tag the WebP encoder would look for a shared libwebp at run
# time, and the binary would need the system's dynamic linker for that.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(GOFLAGS) -tags=nodynamic)

.DEFAULT_GOAL := help
.PHONY: video help build run test unit cluster clients contract conformance vet fmt lint lint-fix bench load soak quality fuzz race noasm arm64 cross generate check clean bench-engine bench-cli settings deploy-test release release-files release-check bench-e2e

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/cutout, static
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/cutout .

run: build ## Build and serve on ADDR, :8080 unless told otherwise
	./bin/cutout serve --addr $(ADDR)

test: build vet fmt lint unit ## Build, vet, check the format, lint and run every test

unit: ## Run every test: unit, contract and, where they can be had, the ONNX node tests and a browser on the pages
	@sh inference/conformance/fetch.sh || echo "the ONNX node tests could not be fetched: they are skipped"
	@sh web/testdata/chromium.sh || echo "Chromium could not be installed: the browser test is skipped"
	go test ./...

cluster: ## Run jobs on three NATS servers of which one is killed and one cut off; takes minutes
	JOBS_TEST_CLUSTER=1 go test -count=1 -v -timeout 20m -run TestCluster ./jobs

clients: ## Run published clients and the samples of the services' pages against the program (needs their programs and registries)
	sh test/clients/run.sh
	sh test/clients/samples.sh

contract: ## Hold the running program against openapi.yaml with schemathesis (needs python and PyPI)
	sh test/contract/run.sh

conformance: ## Run the ONNX project's own node tests against the engine (downloads them once, with python and pip)
	sh inference/conformance/fetch.sh
	go test -count=1 -v -run Nodes ./inference/conformance/...

vet: ## Run go vet
	go vet ./...

fmt: ## Fail when a file is not formatted
	@files=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$files" ]; then echo "not formatted, run gofmt -w on:" >&2; echo "$$files" >&2; exit 1; fi

lint: $(LINT) ## Run golangci-lint
	$(LINT) run --allow-parallel-runners ./...

lint-fix: $(LINT) ## Let golangci-lint change what it can
	$(LINT) run --fix ./...

$(LINT):
	@mkdir -p $(TOOLS)
	GOBIN=$(abspath $(TOOLS))/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv $(TOOLS)/bin/golangci-lint $@

bench: ## Run every benchmark
	go test -run '^$$' -bench . -benchmem ./...

bench-engine: build ## Time the engine against ONNX Runtime and OpenVINO in one run (needs python)
	@test -x $(TOOLS)/bench/bin/python || { python3 -m venv $(TOOLS)/bench && $(TOOLS)/bench/bin/pip install -q -r bench/requirements.txt; }
	$(TOOLS)/bench/bin/python bench/engine.py bin/cutout weights/u2netp.onnx --cpu auto avx2

bench-e2e: build ## Time whole requests against rembg's server in one run (needs python, fetches rembg from PyPI once)
	@test -x $(TOOLS)/rembg/bin/rembg || { python3 -m venv $(TOOLS)/rembg && $(TOOLS)/rembg/bin/pip install -q -r bench/requirements-e2e.txt; }
	$(TOOLS)/rembg/bin/python bench/e2e.py bin/cutout weights/u2netp.onnx $(DATA)

load: build ## Offer a server three times what it can serve, for DURATION (a minute), and judge what callers get
	go run ./bench/load -server bin/cutout -duration $(or $(DURATION),1m) overload

soak: build ## Send a server everything there is for DURATION (20 minutes), and judge what it keeps
	go run ./bench/load -server bin/cutout -duration $(or $(DURATION),20m) soak

quality: ## Measure masks against the photos in DATA into docs/quality.md, and write pictures to GALLERY
	go run ./quality --data $(DATA) --gallery $(GALLERY) --report docs/quality.md

fuzz: ## Fuzz every target for FUZZTIME each
	@set -e; for pkg in $$(go list ./...); do \
		for target in $$(go test -run '^$$' -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

race: ## Run the short tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -short ./...

noasm: ## Run every test without assembly
	go test -tags noasm,nodynamic ./...

arm64: ## Run the engine's short tests as arm64, under qemu-user where the machine is another (QEMU names it)
	GOOS=linux GOARCH=arm64 go vet $(ARM64_TESTS)
	GOOS=linux GOARCH=arm64 go test -c -o /dev/null $(ARM64_TESTS)
	@if [ "$$(go env GOHOSTARCH)" = arm64 ]; then \
		go test -short $(ARM64_TESTS); \
	elif command -v $(QEMU) >/dev/null; then \
		GOOS=linux GOARCH=arm64 go test -short -exec $(QEMU) $(ARM64_TESTS); \
	else \
		echo "skipped: the tests build, but running them takes $(QEMU), which is not installed (Debian: qemu-user)"; \
	fi

cross: ## Build for every system that is supported
	@set -e; for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do \
		echo "$$target"; GOOS=$${target%/*} GOARCH=$${target#*/} go build -o /dev/null .; \
	done

deploy-test: ## Check the chart, the dashboard and the alerts with Helm's and Prometheus's own parsers, against a running server
	cd deploy/test && GOFLAGS= go test -count=1 ./...

release-files: build ## Write what a release holds beside the binary: licences, bill of materials, manual page, completions
	@mkdir -p dist-extra/completions
	go run ./deploy/licences > dist-extra/THIRD_PARTY_LICENSES
	go run ./deploy/licences sbom $(VERSION) > dist-extra/cutout.cdx.json
	./bin/cutout man > dist-extra/cutout.1
	@for shell in bash zsh fish powershell; do ./bin/cutout completion $$shell > dist-extra/completions/cutout.$$shell; done

release: release-files ## Build, pack and sum up the binaries of a release in dist, as goreleaser does for a tag, without it
	@rm -rf dist && mkdir -p dist
	@set -e; for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do \
		os=$${target%/*}; arch=$${target#*/}; name=cutout_$(VERSION)_$${os}_$$arch; exe=cutout; \
		if [ $$os = windows ]; then exe=cutout.exe; fi; \
		mkdir -p dist/$$name; \
		GOOS=$$os GOARCH=$$arch go build -trimpath -ldflags '$(LDFLAGS)' -o dist/$$name/$$exe .; \
		cp -r LICENSE README.md CHANGELOG.md dist-extra/THIRD_PARTY_LICENSES dist-extra/cutout.1 dist-extra/completions dist/$$name/; \
		tar -C dist -czf dist/$$name.tar.gz $$name; \
		size=$$(wc -c < dist/$$name/$$exe); \
		if [ $$size -gt 62914560 ]; then echo "$$name: $$size bytes are more than 60 MB" >&2; exit 1; fi; \
		rm -r dist/$$name; echo "$$name: $$size bytes"; \
	done
	cp dist-extra/cutout.cdx.json dist/
	cd dist && sha256sum *.tar.gz *.json > SHA256SUMS

release-check: ## Check .goreleaser.yaml with goreleaser (builds it, which takes long)
	GOFLAGS= go run github.com/goreleaser/goreleaser/v2@$(GORELEASER_VERSION) check

bench-cli: build ## Time the terminal against rembg's on a folder of 100 photos (needs python; PHOTOS names another folder)
	@test -x $(TOOLS)/rembg/bin/rembg || { python3 -m venv $(TOOLS)/rembg && $(TOOLS)/rembg/bin/pip install -q -r bench/requirements-rembg.txt; }
	$(TOOLS)/rembg/bin/python bench/cli.py bin/cutout weights/u2netp.onnx --photos "$(PHOTOS)"

video: ## Take every clip of DATA through every format, measure flicker, memory and speed (needs ffmpeg; takes an hour, CLIPS, FRAMES and MINUTES narrow it)
	CUTOUT_VIDEO_TESTS=1 go test -count=1 -timeout 3h -v -run 'TestTable|TestFlicker' ./video
	CUTOUT_VIDEO_TESTS=1 go test -count=1 -timeout 3h -v -run TestLongClip ./video
	go test -run '^$$' -bench Clip -benchtime 1x -timeout 1h ./video

settings: ## Write docs/settings.md from the flags
	go test ./cli -run TestSettingsAreListed -update

generate: settings ## Write the generated files anew
	cd inference/kernels/_asm && go run main.go -out ../kernels_amd64.s -stubs ../stubs_amd64.go -pkg kernels
	cd codec/_asm && go run main.go -out ../kernels_amd64.s -stubs ../stubs_amd64.go -pkg codec

check: generate test noasm arm64 race cross deploy-test ## Everything that must hold before a release, clean tree included
	@status=$$(git status --porcelain); \
	if [ -n "$$status" ]; then echo "the tree is not clean:" >&2; echo "$$status" >&2; exit 1; fi

clean: ## Remove what was built; the tools stay
	rm -rf bin dist dist-extra $(GALLERY)
