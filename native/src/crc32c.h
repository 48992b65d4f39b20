// CRC32C (Castagnoli), as record batches and our own blocks carry it.

#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

// seed is the CRC of the bytes before these, 0 for none.
using Crc32c = uint32_t (*)(uint32_t seed, const uint8_t* bytes, size_t length);

struct Crc32cMethod {
  const char* name;
  Crc32c compute;
};

// What this processor can do, fastest first; the last one is the table, which always works. Ends with a null name.
const Crc32cMethod* crc32cMethods();

}  // namespace millrace
