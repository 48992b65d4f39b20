// Where a thread runs and what it is called. Functions act on the calling thread.

#include "thread.h"

#include <cerrno>
#include <cstring>
#include <mutex>
#include <pthread.h>
#ifdef __linux__
#include <sched.h>
#include <unistd.h>
#endif

namespace millrace {

#ifdef __linux__

namespace {
// Dynamic size is not needed: CPU_SETSIZE is 1024 cores.
cpu_set_t processCores;
bool processCoresKnown = false;
std::once_flag remembered;
}  // namespace

void rememberCores() {
  // The main thread's mask: the calling worker may already have been pinned by somebody else.
  std::call_once(remembered, [] { processCoresKnown = sched_getaffinity(getpid(), sizeof processCores, &processCores) == 0; });
}

std::vector<int> allowedCores() {
  std::vector<int> cores;
  if (!processCoresKnown) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &processCores)) cores.push_back(core);
  }
  return cores;
}

int pinThread(int core) {
  if (core < 0 || core >= CPU_SETSIZE) return -EINVAL;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  return -pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);
}

void unpinThread() {
  if (processCoresKnown) pthread_setaffinity_np(pthread_self(), sizeof processCores, &processCores);
}

void setThreadName(const char* name) {
  char kept[16] = {};
  std::strncpy(kept, name, sizeof kept - 1);
  pthread_setname_np(pthread_self(), kept);
}

#else

void rememberCores() {}
std::vector<int> allowedCores() { return {}; }
int pinThread(int) { return -ENOSYS; }
void unpinThread() {}
void setThreadName(const char* name) { pthread_setname_np(name); }

#endif

}  // namespace millrace
