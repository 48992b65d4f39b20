// A few threads that run blocking file calls for one queue.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "job.h"

namespace millrace {

class Pool {
 public:
  // wake(argument) is called from the pool's threads whenever finished jobs wait to be taken.
  Pool(unsigned threadsMax, void (*wake)(void*), void* argument) : threadsMax_(threadsMax), wake_(wake), argument_(argument) {}
  ~Pool();

  // Any number may wait. False when no thread could be made: nothing was taken then.
  bool push(Job& job);
  // Takes a job that has been run elsewhere back through the same door.
  void pushDone(Job& job);
  // All finished jobs, oldest first, linked by next; nullptr when there are none.
  Job* takeDone();
  // Blocks until a finished job can be taken or nothing is left to run.
  void wait();

  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

 private:
  struct List {
    Job* first = nullptr;
    Job* last = nullptr;
    void append(Job& job);
    Job* takeFirst();
  };
  void work();

  const unsigned threadsMax_;
  void (*const wake_)(void*);
  void* const argument_;
  std::mutex mutex_;
  std::condition_variable workToDo_;
  std::condition_variable somethingDone_;
  List waiting_;
  List done_;
  unsigned idle_ = 0;
  unsigned unfinished_ = 0;   // waiting or running
  unsigned waitingCount_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace millrace
