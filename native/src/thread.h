// Where a thread runs and what it is called.

#pragma once

#include <vector>

namespace millrace {

// Remembers which cores the process may use; called once before any thread is pinned.
void rememberCores();
// Cores the process may use, by the kernel's numbers; empty where the system does not say.
std::vector<int> allowedCores();
// Ties the calling thread to one core. Returns 0 or -errno (-ENOSYS on macOS).
int pinThread(int core);
// Gives the calling thread back all cores of the process.
void unpinThread();
// At most 15 bytes are kept.
void setThreadName(const char* name);

}  // namespace millrace
