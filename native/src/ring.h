// A raw io_uring: set up, fill, enter, reap. Linux only; elsewhere open() answers -ENOSYS.

#pragma once

#include <cstdint>
#include <memory>

#include "job.h"

namespace millrace {

class Ring {
 public:
  // Every completion signals eventFd. Proves with one no-op that the ring works before it returns it.
  // Returns nothing and sets error to -errno where the kernel, a seccomp filter or a limit refuses.
  static std::unique_ptr<Ring> open(unsigned entries, unsigned inFlightMax, int eventFd, int& error);
  ~Ring();

  // Fills the next submission entry; false when the submission queue is full.
  bool push(Job& job);
  // Hands the filled entries to the kernel: how many it took (the others are dropped from the ring again), or -errno.
  int enter();
  // Takes one completion: false when there is none.
  bool reap(Job*& job, int32_t& result);
  // Waits for at least one completion: 0 or -errno.
  int wait();
  // The set-up flags the kernel granted, IORING_SETUP_*.
  unsigned flags() const { return flags_; }

  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

 private:
  Ring() = default;
  int setUp(unsigned entries, unsigned inFlightMax, int eventFd);
  int prove();

  int fd_ = -1;
  unsigned flags_ = 0;
  unsigned entries_ = 0;
  unsigned filled_ = 0;      // entries past the kernel's head that it has not been told of
  void* rings_ = nullptr;    // submission and completion ring share one mapping
  size_t ringsBytes_ = 0;
  void* submissions_ = nullptr;
  size_t submissionsBytes_ = 0;
  uint32_t* submitHead_ = nullptr;
  uint32_t* submitTail_ = nullptr;
  uint32_t submitMask_ = 0;
  uint32_t* submitArray_ = nullptr;
  uint32_t* completeHead_ = nullptr;
  uint32_t* completeTail_ = nullptr;
  uint32_t completeMask_ = 0;
  void* completions_ = nullptr;
};

}  // namespace millrace
