#!/bin/sh
# Runs the tests of the addon and of the disks with io_uring forbidden by a seccomp filter, as Docker's default one does:
# the start must find out, say so, and go on with threads.
#
#   native/test-no-ring.sh [TEST FILES]
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
PATH="$root/node_modules/.bin:$PATH"
build=$root/native/build/no-ring
cd "$root"
make -s -C native
mkdir -p "$build"
cat > "$build/no-ring.c" <<'C'
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char** words) {
  // The three calls have the same numbers on all our architectures: 425 setup, 426 enter, 427 register.
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, __NR_io_uring_setup, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, __NR_io_uring_register, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
    perror("seccomp");
    return 125;
  }
  if (count > 1) execvp(words[1], words + 1);
  perror("exec");
  return 126;
}
C
"${CC:-gcc}" -o "$build/no-ring" "$build/no-ring.c"
[ $# -gt 0 ] || set -- test/unit/native/*.test.ts test/unit/storage/disk.test.ts
# Tells disk.test.ts what it has to find.
MILLRACE_TEST_NO_RING=EPERM exec "$build/no-ring" node --test "$@"
