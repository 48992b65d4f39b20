// Blocking file calls, one thread at a time per job: what the pool runs, and what the ring cannot do.

#pragma once

#include <cstdint>

#include "job.h"

namespace millrace {

// Runs the job to its end on the calling thread and returns bytes, a descriptor or 0, or -errno. Short transfers are continued.
int32_t runJob(Job& job);

// sizeBytes, allocatedBytes, modifiedMs, isDirectory, uid. Returns 0 or -errno.
int statFile(int fd, double out[5]);

// flock(LOCK_EX | LOCK_NB) on the open file, so that two opens in one process conflict as well. Returns 0 or -errno.
int lockFile(int fd);

}  // namespace millrace
