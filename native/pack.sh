#!/bin/sh
# Packs this machine's addon as the npm package that the loader looks for where nothing can be built:
# @millrace/native-linux-x64-gnu and the like, as a .tgz.
#
#   native/pack.sh [DIR]     DIR receives the .tgz, native/build by default; its path is the last line printed
#
# The package descriptions come from @napi-rs/cli and native/napi.json; they are made new each time and not kept in git.
# A release builds each target on its own machine, against the oldest libc it promises: see native/README.md.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
out=$(mkdir -p "${1:-$root/native/build}" && cd "${1:-$root/native/build}" && pwd)
PATH="$root/node_modules/.bin:$PATH"
packages=native/build/npm
cd "$root"

make -s -C native
triple=$(node --input-type=module -e '
  import { platformTriple } from "./native/binding.ts"
  console.log(platformTriple() ?? "")')
if [ -z "$triple" ]; then
  echo "native/pack.sh: there is no package for this platform; native/napi.json lists those there are" >&2
  exit 1
fi
rm -rf "$packages"
napi create-npm-dirs --config-path native/napi.json --npm-dir "$packages" >&2
# Stripped: the symbols are half of it, and a stack trace across libuv needs those of Node more.
strip -S -o "$packages/$triple/millrace.$triple.node" native/build/millrace.node
printf '%s\n' "$out/$(cd "$packages/$triple" && npm pack --silent --pack-destination "$out")"
