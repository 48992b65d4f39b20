// Blocking file calls: open past the page cache, preallocate, durable write, data sync.
//
// No state. Called from the pool's threads (pool.cc), and from a JavaScript thread for what does not wait for a device.

#include "file.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace millrace {

namespace {

int openFile(const Job& job) {
  int flags = job.flags | O_CLOEXEC;
  int fd;
#ifdef __APPLE__
  // JavaScript asks for a direct file with a bit of its own, as macOS has no O_DIRECT (see addon.cc).
  const bool direct = (flags & (1 << 30)) != 0;
  flags &= ~(1 << 30);
#endif
  do {
    fd = ::open(job.path.c_str(), flags, static_cast<mode_t>(job.mode));
  } while (fd < 0 && errno == EINTR);
#ifdef __APPLE__
  if (fd >= 0 && direct) fcntl(fd, F_NOCACHE, 1);
#endif
  return fd < 0 ? -errno : fd;
}

int syncData(int fd) {
  int result;
  do {
#ifdef __APPLE__
    // fsync on macOS leaves the bytes in the drive's own cache.
    result = fcntl(fd, F_FULLFSYNC);
    if (result < 0 && errno == ENOTSUP) result = fsync(fd);
#else
    result = fdatasync(fd);
#endif
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

int32_t readAll(const Job& job) {
  uint32_t done = 0;
  while (done < job.length) {
    const ssize_t moved = pread(job.fd, job.data + done, job.length - done, job.position + done);
    if (moved < 0) {
      if (errno == EINTR) continue;
      // A direct read that met the end of the file cannot go on from there: its position is no longer aligned.
      if (errno == EINVAL && done > 0) break;
      return -errno;
    }
    if (moved == 0) break;
    done += static_cast<uint32_t>(moved);
  }
  return static_cast<int32_t>(done);
}

int32_t writeAll(const Job& job) {
  uint32_t done = 0;
  bool syncAfter = job.durable;
#ifdef RWF_DSYNC
  // One call for write and sync: the device sees a single flush, or a forced-unit-access write.
  bool together = job.durable;
  syncAfter = false;
#endif
  while (done < job.length) {
    ssize_t moved;
#ifdef RWF_DSYNC
    if (together) {
      const iovec part{job.data + done, job.length - done};
      moved = pwritev2(job.fd, &part, 1, job.position + done, RWF_DSYNC);
      if (moved < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        together = false;
        syncAfter = true;
        continue;
      }
    } else {
      moved = pwrite(job.fd, job.data + done, job.length - done, job.position + done);
    }
#else
    moved = pwrite(job.fd, job.data + done, job.length - done, job.position + done);
#endif
    if (moved < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    if (moved == 0) return -EIO;
    done += static_cast<uint32_t>(moved);
  }
  if (syncAfter) {
    const int synced = syncData(job.fd);
    if (synced < 0) return synced;
  }
  return static_cast<int32_t>(done);
}

int allocate(const Job& job) {
#ifdef __linux__
  const int how = job.keepSize ? FALLOC_FL_KEEP_SIZE : 0;
  int result;
  do {
    result = fallocate(job.fd, how, job.position, job.size);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
#else
  return -ENOTSUP;
#endif
}

int truncateFile(const Job& job) {
  int result;
  do {
    result = ftruncate(job.fd, job.size);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

}  // namespace

int32_t runJob(Job& job) {
  switch (job.operation) {
    case Operation::read: return readAll(job);
    case Operation::write: return writeAll(job);
    case Operation::sync: return syncData(job.fd);
    case Operation::open: return openFile(job);
    // After EINTR the descriptor is gone on Linux: never close twice.
    case Operation::close: return ::close(job.fd) < 0 && errno != EINTR ? -errno : 0;
    case Operation::allocate: return allocate(job);
    case Operation::truncate: return truncateFile(job);
  }
  return -EINVAL;
}

int statFile(int fd, double out[5]) {
  struct stat info;
  if (fstat(fd, &info) < 0) return -errno;
  out[0] = static_cast<double>(info.st_size);
  out[1] = static_cast<double>(info.st_blocks) * 512;
#ifdef __APPLE__
  const timespec& modified = info.st_mtimespec;
#else
  const timespec& modified = info.st_mtim;
#endif
  out[2] = static_cast<double>(modified.tv_sec) * 1000 + static_cast<double>(modified.tv_nsec) / 1e6;
  out[3] = S_ISDIR(info.st_mode) ? 1 : 0;
  out[4] = static_cast<double>(info.st_uid);
  return 0;
}

int lockFile(int fd) {
  int result;
  do {
    result = flock(fd, LOCK_EX | LOCK_NB);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

}  // namespace millrace
