// Waking a thread from another one: a process-wide table of doorbells.
//
// A bell belongs to the thread that opened it; ringBell is called by any. Each place of the table has its own lock, so that
// a bell cannot be closed while it is being rung, and threads that ring different bells do not meet.

#include "bell.h"

#include <array>
#include <cerrno>
#include <mutex>

namespace millrace {

namespace {

struct Place {
  std::mutex mutex;
  uv_async_t* handle = nullptr;
};

// Never destroyed: threads may still ring while the process exits.
std::array<Place, kBellsMax>& places() {
  static auto* table = new std::array<Place, kBellsMax>();
  return *table;
}

}  // namespace

int Bell::open(int id) {
  if (id < 0 || id >= kBellsMax) return -EINVAL;
  Place& place = places()[static_cast<size_t>(id)];
  std::lock_guard<std::mutex> guard(place.mutex);
  if (place.handle != nullptr) return -EEXIST;
  const int result = uv_async_init(loop_, &handle_, [](uv_async_t* handle) { static_cast<Bell*>(handle->data)->onRing_(); });
  if (result < 0) return result;
  handle_.data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(&handle_));
  place.handle = &handle_;
  id_ = id;
  return 0;
}

void Bell::close(std::function<void()> closed) {
  closed_ = std::move(closed);
  Place& place = places()[static_cast<size_t>(id_)];
  {
    std::lock_guard<std::mutex> guard(place.mutex);
    place.handle = nullptr;
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_), [](uv_handle_t* handle) {
    const auto closed = std::move(static_cast<Bell*>(handle->data)->closed_);
    closed();
  });
}

bool ringBell(int id) {
  if (id < 0 || id >= kBellsMax) return false;
  Place& place = places()[static_cast<size_t>(id)];
  std::lock_guard<std::mutex> guard(place.mutex);
  return place.handle != nullptr && uv_async_send(place.handle) == 0;
}

}  // namespace millrace
