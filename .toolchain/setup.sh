#!/bin/sh
# Makes a fresh checkout ready: dependencies with the pinned Node, then the addon. Does nothing when everything is in place.
#
# Run by `npm start` and `npm test`. Needs npm, and g++ and make for the addon; without those two the broker works all the
# same, on plain Node fs. What is missing is said in one line with the command that installs it.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"

# The lock file as it was when the dependencies were installed.
stamp=node_modules/.setup-done
addon=native/build/millrace.node

say() {
  printf '%s\n' "millrace: $*" >&2
}

# How this system installs packages, named as Debian, Red Hat and Alpine name them.
install_with() {
  sudo=
  [ "$(id -u)" = 0 ] || sudo="sudo "
  if command -v apt-get >/dev/null 2>&1; then echo "${sudo}apt-get install -y $1"
  elif command -v dnf >/dev/null 2>&1; then echo "${sudo}dnf install -y $2"
  elif command -v apk >/dev/null 2>&1; then echo "${sudo}apk add $3"
  elif command -v xcode-select >/dev/null 2>&1; then echo "xcode-select --install"
  else echo "install $1"
  fi
}

install_dependencies() {
  if ! command -v npm >/dev/null 2>&1; then
    say "npm is missing: $(install_with npm npm npm)"
    exit 1
  fi
  say "installing dependencies"
  # Also where NODE_ENV=production or an npmrc says otherwise: the pinned Node is one of them.
  # A download that hangs is given up and asked for again.
  if ! npm ci --fetch-timeout=30000 --fetch-retries=5 --include=dev --include=optional --no-audit --no-fund --loglevel=error >&2; then
    say "the dependencies could not be installed: npm's message is above; run the same command again once it is mended"
    exit 1
  fi
  # Where there is no pinned Node (macOS) or it does not run (musl), the machine's own must do.
  major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
  if [ "$major" -lt 24 ]; then
    say "Node 24 or later is needed here, and there is $(node --version 2>/dev/null || echo none): see https://nodejs.org/en/download"
    exit 1
  fi
  cp package-lock.json "$stamp"
}

build_addon() {
  missing=""
  compiler=${CXX:-g++}
  compiler=${compiler%% *}
  command -v make >/dev/null 2>&1 || missing="make"
  command -v "$compiler" >/dev/null 2>&1 || missing="${missing:+$missing and }$compiler"
  if [ -n "$missing" ]; then
    [ -f "$addon" ] ||
      say "no $missing here, so files go through plain Node fs, which is slower: $(install_with "g++ make" "gcc-c++ make" "g++ make linux-headers")"
  else
    make -s -C native >&2 || say "the addon did not build, so files go through plain Node fs, which is slower"
  fi
}

# Several at once on a fresh checkout wait for the first one. The lock goes with the process, so none is ever left behind.
if ! cmp -s package-lock.json "$stamp" || [ ! -f "$addon" ]; then
  if command -v flock >/dev/null 2>&1; then
    exec 9<.toolchain/setup.sh
    flock 9
  fi
  cmp -s package-lock.json "$stamp" || install_dependencies
fi
build_addon
