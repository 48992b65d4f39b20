#!/bin/sh
# Runs the tests of the addon and of the disks under AddressSanitizer: buffers freed while the kernel writes to them,
# handles used after their thread has ended.
#
#   native/test-asan.sh [TEST FILES]
#
# Leaks are not reported: Node frees little when it exits, so they could not be told from its own.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
PATH="$root/node_modules/.bin:$PATH"
build=$root/native/build/asan
cd "$root"
make -s -C native BUILD=build/asan SANITIZE=address CXXFLAGS="-O1 -g"
[ $# -gt 0 ] || set -- test/unit/native/*.test.ts test/unit/storage/disk.test.ts

export MILLRACE_ADDON="$build/millrace.node"
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=0:exitcode=99:${ASAN_OPTIONS:-}"
LD_PRELOAD=$("${CXX:-g++}" -print-file-name=libasan.so) exec node --test "$@"
