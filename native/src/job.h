// One piece of work for the disk, and how it went.
//
// A job belongs to the queue (queue.cc) of one JavaScript thread. The kernel or one thread of the pool touches it while it is
// in flight; the buffer it points to is kept alive by the JavaScript side until its completion has been delivered.

#pragma once

#include <cstdint>
#include <string>

namespace millrace {

// The numbers are known to queue.ts.
enum class Operation : uint8_t { read = 0, write = 1, sync = 2, open = 3, close = 4, allocate = 5, truncate = 6 };

// The kernel moves at most this much in one call.
constexpr uint32_t kTransferMax = 0x7ffff000;

struct Job {
  Operation operation = Operation::read;
  bool durable = false;       // write: the bytes are on stable storage when it completes
  bool keepSize = false;      // allocate: the file's size stays
  uint8_t retries = 0;
  int fd = -1;
  uint32_t slot = 0;          // JavaScript's name for the job
  uint32_t length = 0;        // bytes asked for
  uint32_t done = 0;          // bytes moved by earlier, short transfers
  int32_t flags = 0;          // open
  int32_t mode = 0;           // open
  int32_t result = 0;         // bytes or descriptor, or -errno
  uint8_t* data = nullptr;
  int64_t position = 0;
  int64_t size = 0;           // allocate, truncate
  std::string path;           // open
  Job* next = nullptr;
};

}  // namespace millrace
