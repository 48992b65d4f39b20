// Waking a thread from another one: a process-wide table of doorbells.

#pragma once

#include <functional>

#include <uv.h>

namespace millrace {

constexpr int kBellsMax = 1024;

class Bell {
 public:
  // onRing runs on the loop's thread; rings that come before it ran count once.
  Bell(uv_loop_t* loop, std::function<void()> onRing) : loop_(loop), onRing_(std::move(onRing)) {}

  // Returns 0, -EINVAL for an id outside 0..kBellsMax-1, -EEXIST when a thread holds it. After a failure the bell may be deleted.
  int open(int id);
  // Nobody can ring it from here on; closed() comes from the loop, and may delete the bell.
  void close(std::function<void()> closed);
  int id() const { return id_; }

 private:
  uv_loop_t* const loop_;
  const std::function<void()> onRing_;
  std::function<void()> closed_;
  uv_async_t handle_{};
  int id_ = -1;
};

// From any thread. False when nobody holds that id.
bool ringBell(int id);

}  // namespace millrace
