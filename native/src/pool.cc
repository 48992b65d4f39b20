// A few threads that run blocking file calls for one queue: all of them where there is no ring, else only those (open,
// preallocate, truncate, close) that would stall the event loop.
//
// Owned by a queue. push, takeDone and wait are called by its JavaScript thread; threads start when there is work for them.

#include "pool.h"

#include <csignal>
#include <new>
#include <system_error>

#include "file.h"
#include "thread.h"

namespace millrace {

void Pool::List::append(Job& job) {
  job.next = nullptr;
  if (last == nullptr) {
    first = &job;
  } else {
    last->next = &job;
  }
  last = &job;
}

Job* Pool::List::takeFirst() {
  Job* job = first;
  if (job != nullptr) {
    first = job->next;
    if (first == nullptr) last = nullptr;
    job->next = nullptr;
  }
  return job;
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> guard(mutex_);
    stopping_ = true;
  }
  workToDo_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Pool::push(Job& job) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (idle_ <= waitingCount_ && threads_.size() < threadsMax_) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) return false;
    }
  }
  waiting_.append(job);
  ++waitingCount_;
  ++unfinished_;
  workToDo_.notify_one();
  return true;
}

void Pool::pushDone(Job& job) {
  std::lock_guard<std::mutex> guard(mutex_);
  done_.append(job);
  wake_(argument_);
}

Job* Pool::takeDone() {
  std::lock_guard<std::mutex> guard(mutex_);
  Job* first = done_.first;
  done_ = List();
  return first;
}

void Pool::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  somethingDone_.wait(lock, [this] { return done_.first != nullptr || unfinished_ == 0; });
}

void Pool::work() {
  // Signals belong to the main thread, and the shard's pinning is not for us: we mostly sleep in the kernel.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  unpinThread();
  setThreadName("millrace-io");
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    Job* job = waiting_.takeFirst();
    if (job == nullptr) {
      if (stopping_) return;
      ++idle_;
      workToDo_.wait(lock);
      --idle_;
      continue;
    }
    --waitingCount_;
    lock.unlock();
    job->result = runJob(*job);
    lock.lock();
    const bool first = done_.first == nullptr;
    done_.append(*job);
    --unfinished_;
    somethingDone_.notify_one();
    // Under the lock, so that the queue cannot take the last job and close its handle between the two.
    if (first) wake_(argument_);
  }
}

}  // namespace millrace
