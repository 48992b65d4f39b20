// Submit and complete: the disk work of one JavaScript thread.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <uv.h>

#include "job.h"
#include "pool.h"
#include "ring.h"

namespace millrace {

// The numbers are known to queue.ts.
enum class Method : int { ring = 0, threads = 1 };

struct Completion {
  uint32_t slot;
  int32_t result;
};

struct QueueOptions {
  Method method = Method::ring;
  unsigned depth = 256;         // jobs in the kernel at once; more wait here
  unsigned threadsMax = 4;
};

class Queue {
 public:
  // completions: pairs of slot and result, filled before each call of deliver(count). Both stay valid until close() has ended.
  Queue(uv_loop_t* loop, int32_t* completions, uint32_t completionsMax, std::function<void(uint32_t)> deliver);

  // Returns 0, or -errno when this method does not work here; the queue must be closed in either case.
  int start(const QueueOptions& options);
  // The job is copied. It starts with the next submit(), at the latest at the end of the loop's turn.
  void enqueue(Job&& job);
  void submit();
  // Waits for everything in flight, closes the files left open, then the handles; calls closed() from the loop at last.
  // Nothing is delivered any more. The caller may delete the queue in closed().
  void close(std::function<void()> closed);
  unsigned ringFlags() const { return ring_ ? ring_->flags() : 0; }

 private:
  static void onWake(uv_async_t* handle);
  static void onEvent(uv_poll_t* handle, int status, int events);
  static void onClosed(uv_handle_t* handle);
  Job* take();
  void recycle(Job* job);
  void toPool(Job* job);
  void reapRing();
  void reapPool();
  // The job's last word, or another try for the rest of a short transfer.
  void finish(Job* job, int32_t result);
  void complete(Job* job, int32_t result);
  // Hands what completed to JavaScript, which may enqueue, submit or close meanwhile.
  void deliver();
  void keepLoopAlive(bool alive);

  uv_loop_t* const loop_;
  int32_t* const completions_;
  const uint32_t completionsMax_;
  std::vector<Completion> completed_;
  const std::function<void(uint32_t)> deliver_;
  std::function<void()> closed_;
  unsigned depth_ = 0;
  unsigned jobsInFlight_ = 0;     // enqueued and not completed
  unsigned inRing_ = 0;
  bool ringBroken_ = false;
  bool closing_ = false;
  bool loopKept_ = false;
  int eventFd_ = -1;
  unsigned handlesOpen_ = 0;
  uv_async_t wake_{};
  uv_poll_t poll_{};
  std::unique_ptr<Ring> ring_;
  std::unique_ptr<Pool> pool_;
  std::vector<Job*> pending_;     // for the ring, oldest first
  std::vector<std::unique_ptr<Job>> jobs_;
  Job* free_ = nullptr;
  std::set<int> files_;           // open, made by this queue
};

}  // namespace millrace
