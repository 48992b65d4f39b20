#!/bin/sh
# Makes dist/ for the npm package: JavaScript and type declarations. `npm pack` runs it.
#
# Node strips types everywhere but under node_modules, so the package carries JavaScript and the repository does not.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"

rm -rf dist
tsc -p .toolchain/tsconfig.build.json
# What `npm i` sets for a package from the registry and not for a folder.
[ ! -f dist/broker/cli/main.js ] || chmod +x dist/broker/cli/main.js
