// The addon's surface: what binding.ts declares, one instance per JavaScript thread that loads it.
//
// Everything of an instance runs on its thread. When the thread ends (worker.terminate() with disk work in flight included), the
// cleanup hook waits for that work, since the kernel writes into memory that JavaScript is about to free, then closes all
// handles. Functions that run per batch or per I/O use the C interface directly, the others node-addon-api.

#include <algorithm>
#include <fcntl.h>
#include <map>
#include <memory>
#include <string>

#include <napi.h>
#include <uv.h>

#include "bell.h"
#include "crc32c.h"
#include "file.h"
#include "queue.h"
#include "thread.h"
#include "turn.h"

namespace millrace {

namespace {

#ifdef O_DIRECT
constexpr int kOpenDirect = O_DIRECT;
#else
constexpr int kOpenDirect = 1 << 30;  // file.cc takes it away again
#endif

// A JavaScript function called from the event loop, as MakeCallback does it: microtasks and process.nextTick run afterwards.
class Callback {
 public:
  Callback(napi_env env, napi_value function) : env_(env) {
    napi_create_reference(env, function, 1, &function_);
    napi_value name;
    napi_create_string_utf8(env, "millrace", NAPI_AUTO_LENGTH, &name);
    napi_async_init(env, nullptr, name, &context_);
  }
  ~Callback() {
    napi_async_destroy(env_, context_);
    napi_delete_reference(env_, function_);
  }
  Callback(const Callback&) = delete;
  Callback& operator=(const Callback&) = delete;

  void call() const { invoke(0, 0); }
  void call(int32_t argument) const { invoke(1, argument); }

 private:
  void invoke(size_t count, int32_t argument) const {
    napi_handle_scope scope;
    if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
    napi_value function;
    napi_value receiver;
    napi_value value;
    napi_create_int32(env_, argument, &value);
    napi_get_reference_value(env_, function_, &function);
    napi_get_global(env_, &receiver);
    if (napi_make_callback(env_, context_, receiver, function, count, &value, nullptr) == napi_pending_exception) {
      // Not pending: the thread is being terminated. Else it is what any uncaught exception is.
      bool pending = false;
      napi_value error;
      if (napi_is_exception_pending(env_, &pending) == napi_ok && pending &&
          napi_get_and_clear_last_exception(env_, &error) == napi_ok) {
        napi_fatal_exception(env_, error);
      }
    }
    napi_close_handle_scope(env_, scope);
  }

  napi_env env_;
  napi_ref function_ = nullptr;
  napi_async_context context_ = nullptr;
};

// Keeps a JavaScript object, and the memory under it, from being collected.
class Kept {
 public:
  Kept(napi_env env, napi_value value) : env_(env) { napi_create_reference(env, value, 1, &reference_); }
  ~Kept() { napi_delete_reference(env_, reference_); }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;

 private:
  napi_env env_;
  napi_ref reference_ = nullptr;
};

struct QueueEntry {
  QueueEntry(napi_env env, napi_value completions, napi_value buffers, napi_value onCompleted)
      : completions(env, completions), buffers(env, buffers), callback(env, onCompleted) {}
  const Kept completions;
  const Kept buffers;      // the array in which queue.ts holds the views in flight
  const Callback callback;
  std::unique_ptr<Queue> queue;
};

struct BellEntry {
  BellEntry(napi_env env, napi_value onRing) : callback(env, onRing) {}
  const Callback callback;
  std::unique_ptr<Bell> bell;
};

struct WatchEntry {
  WatchEntry(napi_env env, napi_value words, napi_value onMail) : words(env, words), callback(env, onMail) {}
  const Kept words;
  const Callback callback;
};

class Instance {
 public:
  explicit Instance(napi_env env) : env_(env) {
    napi_get_uv_event_loop(env, &loop_);
    napi_add_async_cleanup_hook(env, onCleanup, this, &hook_);
    rememberCores();
    const Crc32cMethod* method = crc32cMethods();
    crc32c_ = method->compute;
  }

  napi_env env() const { return env_; }
  Crc32c crc32c() const { return crc32c_; }

  Turn& turn() {
    if (!turn_) {
      turn_ = std::make_unique<Turn>(loop_, [this] {
        for (auto& [id, entry] : queues_) entry->queue->submit();
      });
      turn_->open();
    }
    return *turn_;
  }

  int openQueue(const QueueOptions& options, int32_t* completions, uint32_t completionsMax, std::unique_ptr<QueueEntry> entry) {
    turn();
    QueueEntry* kept = entry.get();
    entry->queue =
        std::make_unique<Queue>(loop_, completions, completionsMax, [kept](uint32_t count) { kept->callback.call(static_cast<int32_t>(count)); });
    const int result = entry->queue->start(options);
    if (result < 0) {
      closeQueue(std::move(entry));
      return result;
    }
    const int id = nextId_++;
    queues_.emplace(id, std::move(entry));
    return id;
  }

  Queue* queue(int id) {
    const auto found = queues_.find(id);
    return found == queues_.end() ? nullptr : found->second->queue.get();
  }

  void closeQueue(int id) {
    const auto found = queues_.find(id);
    if (found == queues_.end()) return;
    std::unique_ptr<QueueEntry> entry = std::move(found->second);
    queues_.erase(found);
    closeQueue(std::move(entry));
  }

  int openBell(int id, napi_value onRing) {
    auto entry = std::make_unique<BellEntry>(env_, onRing);
    entry->bell = std::make_unique<Bell>(loop_, [kept = entry.get()] { kept->callback.call(); });
    const int result = entry->bell->open(id);
    if (result < 0) return result;
    bells_.emplace(id, std::move(entry));
    return 0;
  }

  void closeBell(int id) {
    const auto found = bells_.find(id);
    if (found == bells_.end()) return;
    // Released to the closing callback, which is the last to use it.
    BellEntry* entry = found->second.release();
    bells_.erase(found);
    ++closing_;
    entry->bell->close([this, entry] {
      delete entry;
      closed();
    });
  }

  int watch(napi_value words, int32_t* pending, int32_t* sleeping, napi_value onMail) {
    auto entry = std::make_shared<WatchEntry>(env_, words, onMail);
    return turn().watch(pending, sleeping, [entry](int32_t value) { entry->callback.call(value); });
  }

  void unwatch(int id) {
    if (turn_) turn_->unwatch(id);
  }

 private:
  void closeQueue(std::unique_ptr<QueueEntry> owned) {
    QueueEntry* entry = owned.release();
    ++closing_;
    entry->queue->close([this, entry] {
      delete entry;
      closed();
    });
  }

  static void onCleanup(napi_async_cleanup_hook_handle, void* argument) {
    auto* instance = static_cast<Instance*>(argument);
    instance->ending_ = true;
    ++instance->closing_;
    while (!instance->queues_.empty()) instance->closeQueue(instance->queues_.begin()->first);
    while (!instance->bells_.empty()) instance->closeBell(instance->bells_.begin()->first);
    if (instance->turn_) {
      ++instance->closing_;
      instance->turn_->close([instance] { instance->closed(); });
    }
    instance->closed();
  }

  void closed() {
    if (--closing_ > 0 || !ending_) return;
    napi_remove_async_cleanup_hook(hook_);
    delete this;
  }

  napi_env env_;
  uv_loop_t* loop_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  Crc32c crc32c_;
  int nextId_ = 1;
  unsigned closing_ = 0;
  bool ending_ = false;
  std::map<int, std::unique_ptr<QueueEntry>> queues_;
  std::map<int, std::unique_ptr<BellEntry>> bells_;
  std::unique_ptr<Turn> turn_;
};

Instance& instanceOf(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<Instance*>(data);
}

struct Bytes {
  uint8_t* data = nullptr;
  size_t length = 0;
};

// Works for views over ArrayBuffer and SharedArrayBuffer alike: the interface asks the view for its address, not the buffer.
bool bytesOf(napi_env env, napi_value value, Bytes& bytes) {
  napi_typedarray_type type;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &bytes.length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, nullptr, "a Uint8Array is expected");
    return false;
  }
  bytes.data = static_cast<uint8_t*>(data);
  return true;
}

template <size_t kCount>
bool argumentsOf(napi_env env, napi_callback_info info, napi_value (&values)[kCount]) {
  size_t count = kCount;
  return napi_get_cb_info(env, info, &count, values, nullptr, nullptr) == napi_ok;
}

double numberOf(napi_env env, napi_value value) {
  double number = 0;
  napi_get_value_double(env, value, &number);
  return number;
}

int32_t integerOf(napi_env env, napi_value value) {
  int32_t number = 0;
  napi_get_value_int32(env, value, &number);
  return number;
}

uint32_t unsignedOf(napi_env env, napi_value value) {
  uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

// crc32c(bytes, start, end, seed): number
napi_value crc32cOf(napi_env env, napi_callback_info info) {
  napi_value values[4];
  Bytes bytes;
  if (!argumentsOf(env, info, values) || !bytesOf(env, values[0], bytes)) return nullptr;
  const double start = numberOf(env, values[1]);
  const double end = numberOf(env, values[2]);
  if (!(start >= 0 && start <= end && end <= static_cast<double>(bytes.length))) {
    napi_throw_range_error(env, nullptr, "start and end must lie within the bytes");
    return nullptr;
  }
  const auto first = static_cast<size_t>(start);
  const uint32_t crc = instanceOf(env).crc32c()(unsignedOf(env, values[3]), bytes.data + first, static_cast<size_t>(end) - first);
  napi_value result;
  napi_create_uint32(env, crc, &result);
  return result;
}

// crc32cBy(method, bytes, seed): number, for the tests
Napi::Value crc32cBy(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  Bytes bytes;
  if (!bytesOf(info.Env(), info[1], bytes)) return info.Env().Undefined();
  for (const Crc32cMethod* method = crc32cMethods(); method->name != nullptr; ++method) {
    if (name != method->name) continue;
    return Napi::Number::New(info.Env(), method->compute(unsignedOf(info.Env(), info[2]), bytes.data, bytes.length));
  }
  return info.Env().Undefined();
}

Napi::Value crc32cMethodNames(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  for (const Crc32cMethod* method = crc32cMethods(); method->name != nullptr; ++method) {
    names.Set(names.Length(), Napi::String::New(info.Env(), method->name));
  }
  return names;
}

// addressModulo(bytes, divisor): number
Napi::Value addressModulo(const Napi::CallbackInfo& info) {
  Bytes bytes;
  if (!bytesOf(info.Env(), info[0], bytes)) return info.Env().Undefined();
  const auto divisor = static_cast<uintptr_t>(info[1].As<Napi::Number>().Int64Value());
  return Napi::Number::New(info.Env(), static_cast<double>(reinterpret_cast<uintptr_t>(bytes.data) % divisor));
}

Napi::Value pin(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), pinThread(info[0].As<Napi::Number>().Int32Value()));
}

Napi::Value unpin(const Napi::CallbackInfo& info) {
  unpinThread();
  return info.Env().Undefined();
}

Napi::Value nameThread(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  setThreadName(name.c_str());
  return info.Env().Undefined();
}

Napi::Value cores(const Napi::CallbackInfo& info) {
  Napi::Array list = Napi::Array::New(info.Env());
  for (const int core : allowedCores()) list.Set(list.Length(), Napi::Number::New(info.Env(), core));
  return list;
}

// openQueue(method, depth, threadsMax, completions: Int32Array, buffers: unknown[], onCompleted): id or -errno
Napi::Value openQueue(const Napi::CallbackInfo& info) {
  const QueueOptions options{static_cast<Method>(info[0].As<Napi::Number>().Int32Value()),
                             info[1].As<Napi::Number>().Uint32Value(), info[2].As<Napi::Number>().Uint32Value()};
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(info.Env(), info[3], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || length < 2 || !info[5].IsFunction()) {
    Napi::TypeError::New(info.Env(), "an Int32Array and a function are expected").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  auto entry = std::make_unique<QueueEntry>(info.Env(), info[3], info[4], info[5]);
  const int result = instanceOf(info.Env())
                         .openQueue(options, static_cast<int32_t*>(data), static_cast<uint32_t>(length / 2), std::move(entry));
  return Napi::Number::New(info.Env(), result);
}

Napi::Value closeQueue(const Napi::CallbackInfo& info) {
  instanceOf(info.Env()).closeQueue(info[0].As<Napi::Number>().Int32Value());
  return info.Env().Undefined();
}

Napi::Value ringFlags(const Napi::CallbackInfo& info) {
  const Queue* queue = instanceOf(info.Env()).queue(info[0].As<Napi::Number>().Int32Value());
  return Napi::Number::New(info.Env(), queue == nullptr ? 0 : queue->ringFlags());
}

Queue* queueOf(napi_env env, napi_value id) {
  Queue* queue = instanceOf(env).queue(integerOf(env, id));
  if (queue == nullptr) napi_throw_error(env, nullptr, "the queue is closed");
  return queue;
}

// enqueue(queue, operation, slot, fd, bytes | undefined, position, size, flag)
napi_value enqueue(napi_env env, napi_callback_info info) {
  napi_value values[8];
  if (!argumentsOf(env, info, values)) return nullptr;
  Queue* queue = queueOf(env, values[0]);
  if (queue == nullptr) return nullptr;
  Job job;
  job.operation = static_cast<Operation>(integerOf(env, values[1]));
  job.slot = unsignedOf(env, values[2]);
  job.fd = integerOf(env, values[3]);
  if (job.operation == Operation::read || job.operation == Operation::write) {
    Bytes bytes;
    if (!bytesOf(env, values[4], bytes)) return nullptr;
    if (bytes.length > kTransferMax) {
      napi_throw_range_error(env, nullptr, "one transfer moves less than 2 GiB");
      return nullptr;
    }
    job.data = bytes.data;
    job.length = static_cast<uint32_t>(bytes.length);
  }
  job.position = static_cast<int64_t>(numberOf(env, values[5]));
  job.size = static_cast<int64_t>(numberOf(env, values[6]));
  const bool flag = integerOf(env, values[7]) != 0;
  job.durable = flag && job.operation == Operation::write;
  job.keepSize = flag && job.operation == Operation::allocate;
  queue->enqueue(std::move(job));
  return nullptr;
}

// openFile(queue, slot, path, flags, mode)
Napi::Value openFile(const Napi::CallbackInfo& info) {
  Queue* queue = queueOf(info.Env(), info[0]);
  if (queue == nullptr) return info.Env().Undefined();
  Job job;
  job.operation = Operation::open;
  job.slot = info[1].As<Napi::Number>().Uint32Value();
  job.path = info[2].As<Napi::String>();
  job.flags = info[3].As<Napi::Number>().Int32Value();
  job.mode = info[4].As<Napi::Number>().Int32Value();
  queue->enqueue(std::move(job));
  return info.Env().Undefined();
}

napi_value submit(napi_env env, napi_callback_info info) {
  napi_value values[1];
  if (!argumentsOf(env, info, values)) return nullptr;
  Queue* queue = queueOf(env, values[0]);
  if (queue != nullptr) queue->submit();
  return nullptr;
}

// statFile(fd, out: Float64Array of 5): 0 or -errno
Napi::Value stat(const Napi::CallbackInfo& info) {
  auto out = info[1].As<Napi::Float64Array>();
  if (out.ElementLength() < 5) return Napi::Number::New(info.Env(), UV_EINVAL);
  double values[5];
  const int result = statFile(info[0].As<Napi::Number>().Int32Value(), values);
  if (result == 0) std::copy(values, values + 5, out.Data());
  return Napi::Number::New(info.Env(), result);
}

Napi::Value lock(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), lockFile(info[0].As<Napi::Number>().Int32Value()));
}

// openBell(id, onRing): 0 or -errno
Napi::Value openBell(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), instanceOf(info.Env()).openBell(info[0].As<Napi::Number>().Int32Value(), info[1]));
}

Napi::Value closeBell(const Napi::CallbackInfo& info) {
  instanceOf(info.Env()).closeBell(info[0].As<Napi::Number>().Int32Value());
  return info.Env().Undefined();
}

// ring(id): boolean
napi_value ring(napi_env env, napi_callback_info info) {
  napi_value values[1];
  if (!argumentsOf(env, info, values)) return nullptr;
  napi_value result;
  napi_get_boolean(env, ringBell(integerOf(env, values[0])), &result);
  return result;
}

// watch(words: Int32Array, pendingIndex, sleepingIndex | -1, onMail): id
Napi::Value watch(const Napi::CallbackInfo& info) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  const int64_t pending = info[1].As<Napi::Number>().Int64Value();
  const int64_t sleeping = info[2].As<Napi::Number>().Int64Value();
  if (napi_get_typedarray_info(info.Env(), info[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || pending < 0 || pending >= static_cast<int64_t>(length) ||
      sleeping >= static_cast<int64_t>(length) || !info[3].IsFunction()) {
    Napi::TypeError::New(info.Env(), "an Int32Array, indexes within it and a function are expected").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  auto* words = static_cast<int32_t*>(data);
  const int id =
      instanceOf(info.Env()).watch(info[0], words + pending, sleeping < 0 ? nullptr : words + sleeping, info[3]);
  return Napi::Number::New(info.Env(), id);
}

Napi::Value unwatch(const Napi::CallbackInfo& info) {
  instanceOf(info.Env()).unwatch(info[0].As<Napi::Number>().Int32Value());
  return info.Env().Undefined();
}

Napi::Value setSpin(const Napi::CallbackInfo& info) {
  instanceOf(info.Env()).turn().setSpin(info[0].As<Napi::Number>().Uint32Value());
  return info.Env().Undefined();
}

void set(Napi::Object& exports, const char* name, napi_callback function) {
  napi_value value;
  napi_create_function(exports.Env(), name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  exports.Set(name, value);
}

template <Napi::Value (*kFunction)(const Napi::CallbackInfo&)>
void set(Napi::Object& exports, const char* name) {
  exports.Set(name, Napi::Function::New<kFunction>(exports.Env(), name));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  // Deletes itself in the cleanup hook, after the last handle has been closed.
  napi_set_instance_data(env, new Instance(env), nullptr, nullptr);
  exports.Set("openDirect", Napi::Number::New(env, kOpenDirect));
  set(exports, "crc32c", crc32cOf);
  set(exports, "enqueue", enqueue);
  set(exports, "submit", submit);
  set(exports, "ring", ring);
  set<crc32cBy>(exports, "crc32cBy");
  set<crc32cMethodNames>(exports, "crc32cMethods");
  set<addressModulo>(exports, "addressModulo");
  set<pin>(exports, "pinThread");
  set<unpin>(exports, "unpinThread");
  set<nameThread>(exports, "setThreadName");
  set<cores>(exports, "allowedCores");
  set<openQueue>(exports, "openQueue");
  set<closeQueue>(exports, "closeQueue");
  set<ringFlags>(exports, "ringFlags");
  set<openFile>(exports, "openFile");
  set<stat>(exports, "statFile");
  set<lock>(exports, "lockFile");
  set<openBell>(exports, "openBell");
  set<closeBell>(exports, "closeBell");
  set<watch>(exports, "watch");
  set<unwatch>(exports, "unwatch");
  set<setSpin>(exports, "setSpin");
  return exports;
}

}  // namespace

}  // namespace millrace

static Napi::Object initAddon(Napi::Env env, Napi::Object exports) { return millrace::init(env, exports); }
NODE_API_MODULE(millrace, initAddon)
