#!/bin/sh
# Builds the addon for every platform of native/napi.json on one Linux machine, and fills the npm packages with it.
#
#   ZIG=/path/to/zig native/release.sh      (zig 0.13 or newer: pip install ziglang, or ziglang.org)
#
# zig is clang with the headers and C libraries of all targets, so that the glibc we promise (2.28, as Node 24 and 26 do) does
# not depend on the machine that builds. Publishing is then:
#   npm publish native/build/npm/<platform> for each, and npm publish of the main package, which names them as optional
#   dependencies once this has run: napi pre-publish -c native/napi.json --npm-dir native/build/npm --skip-optional-publish --no-gh-release
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
zig=${ZIG:-zig}
PATH="$root/node_modules/.bin:$PATH"
packages=native/build/npm
artifacts=native/build/artifacts
cd "$root"

build() {
  triple=$1
  echo "$triple" >&2
  make -s -C native BUILD="$root/native/build/$triple" CXX="$zig c++ -target $2" SYSTEM="$3" STATIC= CXXFLAGS=-O2 LDFLAGS=-s
  mkdir -p "$artifacts"
  cp "native/build/$triple/millrace.node" "$artifacts/millrace.$triple.node"
}

rm -rf "$packages" "$artifacts"
build linux-x64-gnu x86_64-linux-gnu.2.28 Linux
build linux-x64-musl x86_64-linux-musl Linux
build linux-arm64-gnu aarch64-linux-gnu.2.28 Linux
build linux-arm64-musl aarch64-linux-musl Linux
build darwin-arm64 aarch64-macos Darwin
napi create-npm-dirs --config-path native/napi.json --npm-dir "$packages" >&2
# `napi artifacts` also leaves a copy of each addon in the main folder, which nobody loads here.
for file in "$artifacts"/*.node; do
  triple=$(basename "$file" .node)
  cp "$file" "$packages/${triple#millrace.}/"
done
napi version --config-path native/napi.json --npm-dir "$packages" >&2
ls -l "$packages"/*/*.node
