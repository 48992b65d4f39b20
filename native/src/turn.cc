// What happens at both ends of every turn of an event loop: mailboxes are looked at, gathered disk work is submitted.
//
// One per environment, on its thread. The words are shared with the other shards' threads. The handles are unreferenced: they
// neither keep the loop alive nor wake it.

#include "turn.h"

namespace millrace {

namespace {

constexpr int kRoundsMax = 8;
constexpr uint64_t kActiveNanos = 1'000'000;

int32_t load(const int32_t* word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

int Turn::open() {
  int result = uv_prepare_init(loop_, &prepare_);
  if (result < 0) return result;
  uv_check_init(loop_, &check_);
  prepare_.data = check_.data = again_.data = this;
  handlesOpen_ = 2;
  uv_prepare_start(&prepare_, onPrepare);
  uv_check_start(&check_, onCheck);
  uv_unref(reinterpret_cast<uv_handle_t*>(&prepare_));
  uv_unref(reinterpret_cast<uv_handle_t*>(&check_));
  result = uv_async_init(loop_, &again_, [](uv_async_t*) {});
  if (result < 0) return result;
  ++handlesOpen_;
  uv_unref(reinterpret_cast<uv_handle_t*>(&again_));
  return 0;
}

void Turn::close(std::function<void()> closed) {
  closing_ = true;
  closed_ = std::move(closed);
  setSleeping(0);
  watches_.clear();
  if (handlesOpen_ == 0) {
    closed_();
    return;
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), onClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&check_), onClosed);
  if (handlesOpen_ == 3) uv_close(reinterpret_cast<uv_handle_t*>(&again_), onClosed);
}

void Turn::onClosed(uv_handle_t* handle) {
  auto* turn = static_cast<Turn*>(handle->data);
  if (--turn->handlesOpen_ > 0) return;
  const auto closed = std::move(turn->closed_);
  closed();
}

int Turn::watch(int32_t* pending, int32_t* sleeping, std::function<void(int32_t)> onMail) {
  const int id = nextId_++;
  watches_.push_back(std::make_unique<Watch>(Watch{id, pending, sleeping, std::move(onMail)}));
  return id;
}

void Turn::unwatch(int id) {
  for (auto& watch : watches_) {
    if (watch->id != id) continue;
    if (watch->sleeping != nullptr) __atomic_store_n(watch->sleeping, 0, __ATOMIC_SEQ_CST);
    watch->closed = true;
  }
  if (!delivering_) std::erase_if(watches_, [](const auto& watch) { return watch->closed; });
}

void Turn::onPrepare(uv_prepare_t* handle) { static_cast<Turn*>(handle->data)->beforeSleep(); }

void Turn::onCheck(uv_check_t* handle) {
  auto* turn = static_cast<Turn*>(handle->data);
  turn->setSleeping(0);
  // What the sockets' callbacks left for the disk goes first: the device works while we read the mail.
  turn->submit_();
  turn->deliver();
  if (!turn->closing_) turn->submit_();
}

void Turn::beforeSleep() {
  for (int round = 0;; ++round) {
    deliver();
    if (closing_) return;
    submit_();
    // The loop will only glance at its descriptors and come back: nobody needs to ring.
    if (watches_.empty() || uv_backend_timeout(loop_) == 0) return;
    if (round == 0) spin();
    setSleeping(1);
    // Whoever left mail before the flag was up did not ring: look once more.
    if (!anyPending()) return;
    setSleeping(0);
    if (round == kRoundsMax) {
      // Mail keeps coming; let the loop look at its descriptors before the next round.
      uv_async_send(&again_);
      return;
    }
  }
}

void Turn::setSleeping(int32_t value) {
  for (const auto& watch : watches_) {
    if (watch->sleeping != nullptr && !watch->closed) __atomic_store_n(watch->sleeping, value, __ATOMIC_SEQ_CST);
  }
}

bool Turn::anyPending() const {
  for (const auto& watch : watches_) {
    if (!watch->closed && load(watch->pending) != 0) return true;
  }
  return false;
}

void Turn::deliver() {
  // By index, and erased afterwards: a callback may watch and unwatch.
  delivering_ = true;
  for (size_t i = 0; i < watches_.size() && !closing_; ++i) {
    Watch* watch = watches_[i].get();
    if (watch->closed || load(watch->pending) == 0) continue;
    // Taken before the callback reads: what is left meanwhile sets the word again.
    const int32_t value = __atomic_exchange_n(watch->pending, 0, __ATOMIC_SEQ_CST);
    if (spinNanos_ > 0) lastMailNanos_ = uv_hrtime();
    watch->onMail(value);
  }
  delivering_ = false;
  std::erase_if(watches_, [](const auto& watch) { return watch->closed; });
}

void Turn::spin() {
  if (spinNanos_ == 0) return;
  const uint64_t start = uv_hrtime();
  if (start - lastMailNanos_ > kActiveNanos) return;
  while (!anyPending()) {
    for (int i = 0; i < 32; ++i) relax();
    if (uv_hrtime() - start > spinNanos_) return;
  }
}

}  // namespace millrace
