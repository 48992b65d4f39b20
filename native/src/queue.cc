// Submit and complete: the disk work of one JavaScript thread, through a ring where there is one, else through own threads.
//
// Made by addon.cc for one environment and touched only by its thread; the pool's threads only call uv_async_send. Jobs gather
// during a turn of the event loop and enter the kernel together; completions come back through an eventfd that the loop
// polls, and reach JavaScript with one call per wake-up.

#include "queue.h"

#include <cerrno>
#include <unistd.h>

#include "file.h"

#ifdef __linux__
#include <sys/eventfd.h>
#endif

namespace millrace {

namespace {
constexpr uint8_t kRetriesMax = 16;
}

Queue::Queue(uv_loop_t* loop, int32_t* completions, uint32_t completionsMax, std::function<void(uint32_t)> deliver)
    : loop_(loop), completions_(completions), completionsMax_(completionsMax), deliver_(std::move(deliver)) {}

int Queue::start(const QueueOptions& options) {
  depth_ = options.depth;
  int result = uv_async_init(loop_, &wake_, onWake);
  if (result < 0) return result;
  ++handlesOpen_;
  wake_.data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(&wake_));
  pool_ = std::make_unique<Pool>(
      options.threadsMax, [](void* queue) { uv_async_send(&static_cast<Queue*>(queue)->wake_); }, this);
  if (options.method == Method::threads) return 0;
#ifdef __linux__
  eventFd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (eventFd_ < 0) return -errno;
  int error = 0;
  ring_ = Ring::open(options.depth, options.depth, eventFd_, error);
  if (!ring_) return error;
  result = uv_poll_init(loop_, &poll_, eventFd_);
  if (result < 0) return result;
  ++handlesOpen_;
  poll_.data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(&poll_));
  return uv_poll_start(&poll_, UV_READABLE, onEvent);
#else
  return -ENOSYS;
#endif
}

void Queue::enqueue(Job&& job) {
  Job* own = take();
  *own = std::move(job);
  if (jobsInFlight_++ == 0) keepLoopAlive(true);
  const bool forRing =
      own->operation == Operation::read || own->operation == Operation::write || own->operation == Operation::sync;
  if (forRing && ring_ && !ringBroken_) {
    pending_.push_back(own);
  } else {
    toPool(own);
  }
}

void Queue::submit() {
  if (pending_.empty() || closing_) return;
  size_t taken = 0;
  while (taken < pending_.size() && inRing_ < depth_) {
    unsigned filled = 0;
    while (taken + filled < pending_.size() && inRing_ + filled < depth_ && ring_->push(*pending_[taken + filled])) ++filled;
    const int entered = ring_->enter();
    if (entered >= 0) {
      taken += static_cast<unsigned>(entered);
      inRing_ += static_cast<unsigned>(entered);
      if (static_cast<unsigned>(entered) == filled) continue;
    }
    if (entered >= 0 || entered == -EAGAIN || entered == -EBUSY) {
      // The kernel is short of memory or has completions for us first: the next turn tries again.
      uv_async_send(&wake_);
    } else {
      // The ring was taken from us (a seccomp filter set later): what it holds ends there, all else goes to the threads.
      ringBroken_ = true;
      while (taken < pending_.size()) toPool(pending_[taken++]);
    }
    break;
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(taken));
}

void Queue::close(std::function<void()> closed) {
  closing_ = true;
  closed_ = std::move(closed);
  for (Job* job : pending_) complete(job, -ECANCELED);
  pending_.clear();
  while (inRing_ > 0) {
    // Forbidden to wait (a seccomp filter set later): entering the kernel for anything else runs our completions as well.
    if (ring_->wait() < 0) usleep(1000);
    reapRing();
  }
  if (pool_) {
    // Memory that a thread writes to must outlive the write, so the slowest job decides how long this takes.
    while (jobsInFlight_ > inRing_) {
      pool_->wait();
      reapPool();
    }
    pool_.reset();
  }
  for (const int fd : files_) ::close(fd);
  files_.clear();
  ring_.reset();
  keepLoopAlive(false);
  if (handlesOpen_ == 0) {
    const auto nowClosed = std::move(closed_);
    nowClosed();
    return;
  }
  if (poll_.data != nullptr) {
    uv_poll_stop(&poll_);
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), onClosed);
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&wake_), onClosed);
}

void Queue::onClosed(uv_handle_t* handle) {
  auto* queue = static_cast<Queue*>(handle->data);
  if (--queue->handlesOpen_ > 0) return;
  if (queue->eventFd_ >= 0) ::close(queue->eventFd_);
  queue->eventFd_ = -1;
  // The callback may delete the queue, and with it the function object it lives in.
  const auto closed = std::move(queue->closed_);
  closed();
}

void Queue::onWake(uv_async_t* handle) {
  auto* queue = static_cast<Queue*>(handle->data);
  if (queue->closing_) return;
  queue->reapPool();
  queue->deliver();
  queue->submit();
}

void Queue::onEvent(uv_poll_t* handle, int, int) {
  auto* queue = static_cast<Queue*>(handle->data);
  if (queue->closing_) return;
  // Only resets the counter: what completed is in the ring. A failed read (EAGAIN) means somebody reset it before.
  uint64_t count;
  [[maybe_unused]] const ssize_t bytes = ::read(queue->eventFd_, &count, sizeof count);
  queue->reapRing();
  queue->deliver();
  // Short transfers go on, and jobs that found the ring full get their turn.
  queue->submit();
}

void Queue::reapRing() {
  Job* job = nullptr;
  int32_t result = 0;
  while (ring_->reap(job, result)) {
    --inRing_;
    finish(job, result);
  }
}

void Queue::reapPool() {
  Job* job = pool_->takeDone();
  while (job != nullptr) {
    Job* next = job->next;
    const int32_t result = job->result;
    if (job->operation == Operation::open && result >= 0) files_.insert(result);
    complete(job, result);
    job = next;
  }
}

void Queue::finish(Job* job, int32_t result) {
  const bool transfer = job->operation == Operation::read || job->operation == Operation::write;
  const bool again = (result == -EINTR || result == -EAGAIN) && job->retries < kRetriesMax;
  if (again) {
    ++job->retries;
  } else if (!transfer) {
    complete(job, result);
    return;
  } else if (result < 0) {
    // A direct read that met the end of the file cannot go on from there: its position is no longer aligned.
    const bool end = job->operation == Operation::read && result == -EINVAL && job->done > 0;
    complete(job, end ? static_cast<int32_t>(job->done) : result);
    return;
  } else {
    job->done += static_cast<uint32_t>(result);
    if (job->done == job->length || (result == 0 && job->operation == Operation::read)) {
      complete(job, static_cast<int32_t>(job->done));
      return;
    }
    if (result == 0) {
      complete(job, -EIO);
      return;
    }
  }
  if (closing_) {
    complete(job, -ECANCELED);
  } else if (ringBroken_) {
    complete(job, -EIO);
  } else {
    pending_.push_back(job);
  }
}

void Queue::complete(Job* job, int32_t result) {
  if (!closing_) completed_.push_back({job->slot, result});
  recycle(job);
  if (--jobsInFlight_ == 0) keepLoopAlive(false);
}

void Queue::deliver() {
  size_t delivered = 0;
  while (delivered < completed_.size() && !closing_) {
    uint32_t count = 0;
    while (count < completionsMax_ && delivered < completed_.size()) {
      completions_[count * 2] = static_cast<int32_t>(completed_[delivered].slot);
      completions_[count * 2 + 1] = completed_[delivered].result;
      ++count;
      ++delivered;
    }
    deliver_(count);
  }
  completed_.clear();
}

void Queue::toPool(Job* job) {
  // A file that is closed here is no longer ours to close, whatever comes of it: its number may be in use again at once.
  if (job->operation == Operation::close) files_.erase(job->fd);
  if (pool_->push(*job)) return;
  // Not even one thread can be made: the event loop has to wait for the disk itself, but the completion still comes later.
  job->result = runJob(*job);
  pool_->pushDone(*job);
}

void Queue::keepLoopAlive(bool alive) {
  if (alive == loopKept_ || handlesOpen_ == 0) return;
  loopKept_ = alive;
  auto* handle = reinterpret_cast<uv_handle_t*>(&wake_);
  if (alive) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

Job* Queue::take() {
  if (free_ == nullptr) {
    jobs_.push_back(std::make_unique<Job>());
    return jobs_.back().get();
  }
  Job* job = free_;
  free_ = job->next;
  return job;
}

void Queue::recycle(Job* job) {
  job->next = free_;
  free_ = job;
}

}  // namespace millrace
