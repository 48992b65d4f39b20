// What happens at both ends of every turn of an event loop: mailboxes are looked at, gathered disk work is submitted.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <uv.h>

namespace millrace {

class Turn {
 public:
  // submit() hands gathered disk work to the kernel; it is called twice per turn and must cost nothing when there is none.
  Turn(uv_loop_t* loop, std::function<void()> submit) : loop_(loop), submit_(std::move(submit)) {}

  int open();
  // Nothing is called any more; closed() comes from the loop, and may delete the turn.
  void close(std::function<void()> closed);

  // pending: other threads set it to nonzero when they left something; it is set back to zero and its value given to
  // onMail. sleeping (may be nullptr): 1 while this thread is about to wait or waits, so that others know to ring.
  int watch(int32_t* pending, int32_t* sleeping, std::function<void(int32_t)> onMail);
  void unwatch(int id);
  // How long to look for mail before sleeping, when some came within the last millisecond. 0: sleep at once.
  void setSpin(uint32_t micros) { spinNanos_ = uint64_t{micros} * 1000; }

 private:
  struct Watch {
    int id;
    int32_t* pending;
    int32_t* sleeping;
    std::function<void(int32_t)> onMail;
    bool closed = false;
  };
  static void onPrepare(uv_prepare_t* handle);
  static void onCheck(uv_check_t* handle);
  static void onClosed(uv_handle_t* handle);
  void beforeSleep();
  void setSleeping(int32_t value);
  bool anyPending() const;
  void deliver();
  void spin();

  uv_loop_t* const loop_;
  const std::function<void()> submit_;
  std::function<void()> closed_;
  uv_prepare_t prepare_{};
  uv_check_t check_{};
  uv_async_t again_{};
  unsigned handlesOpen_ = 0;
  int nextId_ = 1;
  bool delivering_ = false;
  bool closing_ = false;
  uint64_t spinNanos_ = 0;
  uint64_t lastMailNanos_ = 0;
  std::vector<std::unique_ptr<Watch>> watches_;
};

}  // namespace millrace
