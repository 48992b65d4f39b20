// A raw io_uring: set up, fill, enter, reap.
//
// One per queue (queue.cc), used only by the JavaScript thread that made it, as SINGLE_ISSUER demands. Straight system calls
// from <linux/io_uring.h>, so that no library has to be installed to build or run it.

#include "ring.h"

#include <cerrno>

#ifdef __linux__

#include <cstring>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

// Older headers than the kernel we run on: the numbers are the kernel's ABI.
#ifndef IORING_SETUP_SUBMIT_ALL
#define IORING_SETUP_SUBMIT_ALL (1U << 7)
#endif
#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN (1U << 8)
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef RWF_DSYNC
#define RWF_DSYNC 0x00000002
#endif

namespace millrace {

namespace {

int sysSetup(unsigned entries, io_uring_params* params) {
  return static_cast<int>(syscall(__NR_io_uring_setup, entries, params));
}

int sysEnter(int fd, unsigned submit, unsigned minComplete, unsigned flags) {
  return static_cast<int>(syscall(__NR_io_uring_enter, fd, submit, minComplete, flags, nullptr, 0));
}

int sysRegister(int fd, unsigned what, void* argument, unsigned count) {
  return static_cast<int>(syscall(__NR_io_uring_register, fd, what, argument, count));
}

uint32_t loadAcquire(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
void storeRelease(uint32_t* word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

bool supportsOperations(int fd) {
  constexpr unsigned kCount = 64;
  std::vector<uint8_t> memory(sizeof(io_uring_probe) + kCount * sizeof(io_uring_probe_op));
  auto* probe = reinterpret_cast<io_uring_probe*>(memory.data());
  if (sysRegister(fd, IORING_REGISTER_PROBE, probe, kCount) < 0) return false;
  for (const unsigned operation : {IORING_OP_NOP, IORING_OP_FSYNC, IORING_OP_READ, IORING_OP_WRITE}) {
    if (operation > probe->last_op || !(probe->ops[operation].flags & IO_URING_OP_SUPPORTED)) return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<Ring> Ring::open(unsigned entries, unsigned inFlightMax, int eventFd, int& error) {
  std::unique_ptr<Ring> ring(new Ring());
  error = ring->setUp(entries, inFlightMax, eventFd);
  if (error == 0) error = ring->prove();
  if (error != 0) ring.reset();
  return ring;
}

int Ring::setUp(unsigned entries, unsigned inFlightMax, int eventFd) {
  // Best first. COOP_TASKRUN: no interrupt to this thread per completion, it looks when it enters the kernel anyway.
  // (DEFER_TASKRUN would go further, but completions then never reach an eventfd that a sleeping event loop waits on.)
  const unsigned base = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
  const unsigned choices[] = {
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
      base,
  };
  io_uring_params params;
  for (const unsigned flags : choices) {
    std::memset(&params, 0, sizeof params);
    params.flags = flags;
    params.cq_entries = inFlightMax;
    fd_ = sysSetup(entries, &params);
    if (fd_ >= 0) {
      flags_ = flags;
      break;
    }
    if (errno != EINVAL) return -errno;
  }
  if (fd_ < 0) return -EINVAL;
  // Kernels without these are older than 5.5; the own threads serve them as well.
  if (!(params.features & IORING_FEAT_SINGLE_MMAP) || !(params.features & IORING_FEAT_NODROP)) return -ENOSYS;
  if (params.cq_entries < inFlightMax) return -ENOMEM;
  entries_ = params.sq_entries;
  const size_t submitBytes = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
  const size_t completeBytes = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
  ringsBytes_ = submitBytes > completeBytes ? submitBytes : completeBytes;
  void* mapped = mmap(nullptr, ringsBytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, IORING_OFF_SQ_RING);
  if (mapped == MAP_FAILED) return -errno;
  rings_ = mapped;
  submissionsBytes_ = params.sq_entries * sizeof(io_uring_sqe);
  mapped = mmap(nullptr, submissionsBytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, IORING_OFF_SQES);
  if (mapped == MAP_FAILED) return -errno;
  submissions_ = mapped;
  auto* base8 = static_cast<uint8_t*>(rings_);
  submitHead_ = reinterpret_cast<uint32_t*>(base8 + params.sq_off.head);
  submitTail_ = reinterpret_cast<uint32_t*>(base8 + params.sq_off.tail);
  submitMask_ = *reinterpret_cast<uint32_t*>(base8 + params.sq_off.ring_mask);
  submitArray_ = reinterpret_cast<uint32_t*>(base8 + params.sq_off.array);
  completeHead_ = reinterpret_cast<uint32_t*>(base8 + params.cq_off.head);
  completeTail_ = reinterpret_cast<uint32_t*>(base8 + params.cq_off.tail);
  completeMask_ = *reinterpret_cast<uint32_t*>(base8 + params.cq_off.ring_mask);
  completions_ = base8 + params.cq_off.cqes;
  if (!supportsOperations(fd_)) return -ENOSYS;
  int eventArgument = eventFd;
  if (sysRegister(fd_, IORING_REGISTER_EVENTFD, &eventArgument, 1) < 0) return -errno;
  return 0;
}

int Ring::prove() {
  auto* entry = static_cast<io_uring_sqe*>(submissions_);
  std::memset(entry, 0, sizeof *entry);
  entry->opcode = IORING_OP_NOP;
  submitArray_[0] = 0;
  filled_ = 1;
  int taken = enter();
  if (taken < 0) return taken;
  if (taken != 1) return -EAGAIN;
  const int waited = wait();
  if (waited < 0) return waited;
  Job* job = nullptr;
  int32_t result = 0;
  return reap(job, result) ? result : -EAGAIN;
}

Ring::~Ring() {
  if (submissions_ != nullptr) munmap(submissions_, submissionsBytes_);
  if (rings_ != nullptr) munmap(rings_, ringsBytes_);
  if (fd_ >= 0) ::close(fd_);
}

bool Ring::push(Job& job) {
  if (filled_ == entries_) return false;
  const uint32_t index = (loadAcquire(submitHead_) + filled_) & submitMask_;
  auto* entry = static_cast<io_uring_sqe*>(submissions_) + index;
  std::memset(entry, 0, sizeof *entry);
  entry->fd = job.fd;
  entry->user_data = reinterpret_cast<uint64_t>(&job);
  if (job.operation == Operation::sync) {
    entry->opcode = IORING_OP_FSYNC;
    entry->fsync_flags = IORING_FSYNC_DATASYNC;
  } else {
    entry->opcode = job.operation == Operation::write ? IORING_OP_WRITE : IORING_OP_READ;
    entry->addr = reinterpret_cast<uint64_t>(job.data + job.done);
    entry->len = job.length - job.done;
    entry->off = static_cast<uint64_t>(job.position) + job.done;
    if (job.operation == Operation::write && job.durable) entry->rw_flags = RWF_DSYNC;
  }
  submitArray_[index] = index;
  ++filled_;
  return true;
}

int Ring::enter() {
  const unsigned count = filled_;
  const uint32_t head = loadAcquire(submitHead_);
  // The kernel reads the tail only inside the call below, so what it leaves can simply be filled again next time.
  storeRelease(submitTail_, head + count);
  filled_ = 0;
  int taken;
  do {
    taken = sysEnter(fd_, count, 0, 0);
  } while (taken < 0 && errno == EINTR);
  return taken < 0 ? -errno : taken;
}

bool Ring::reap(Job*& job, int32_t& result) {
  const uint32_t head = *completeHead_;
  if (head == loadAcquire(completeTail_)) return false;
  const auto& entry = static_cast<io_uring_cqe*>(completions_)[head & completeMask_];
  job = reinterpret_cast<Job*>(entry.user_data);
  result = entry.res;
  storeRelease(completeHead_, head + 1);
  return true;
}

int Ring::wait() {
  while (sysEnter(fd_, 0, 1, IORING_ENTER_GETEVENTS) < 0) {
    if (errno != EINTR) return -errno;
  }
  return 0;
}

}  // namespace millrace

#else

namespace millrace {

std::unique_ptr<Ring> Ring::open(unsigned, unsigned, int, int& error) {
  error = -ENOSYS;
  return nullptr;
}
Ring::~Ring() {}
bool Ring::push(Job&) { return false; }
int Ring::enter() { return -ENOSYS; }
bool Ring::reap(Job*&, int32_t&) { return false; }
int Ring::wait() { return -ENOSYS; }

}  // namespace millrace

#endif
