// CRC32C (Castagnoli) by the processor's own instruction, three streams at a time, or by table.
//
// No state but tables made once. The crc32 instruction takes three cycles but one can start every cycle, so three stretches
// ("lanes") of the input are summed side by side and joined: a CRC moved past n zero bytes is the CRC times x^(8n) modulo the
// polynomial, one carry-less multiplication and one crc32 to reduce it. Source of the idea: Intel, "Fast CRC Computation for
// iSCSI Polynomial Using CRC32 Instruction" (Gopal et al., 2011).

#include "crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <nmmintrin.h>
#include <wmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#ifdef __linux__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

namespace millrace {

namespace {

// Bit-reflected, as everywhere here: bit 31 is x^0.
constexpr uint32_t kPolynomial = 0x82f63b78;

uint64_t load64(const uint8_t* bytes) {
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables makeTables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = value;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    for (size_t i = 1; i < 8; ++i) tables[i][byte] = (tables[i - 1][byte] >> 8) ^ tables[0][tables[i - 1][byte] & 0xff];
  }
  return tables;
}

constexpr Tables kTables = makeTables();

uint32_t byTable(uint32_t seed, const uint8_t* bytes, size_t length) {
  uint32_t crc = ~seed;
  // Little-endian, as every platform we build for.
  for (; length >= 8; bytes += 8, length -= 8) {
    const uint64_t word = load64(bytes) ^ crc;
    crc = kTables[7][word & 0xff] ^ kTables[6][(word >> 8) & 0xff] ^ kTables[5][(word >> 16) & 0xff] ^
          kTables[4][(word >> 24) & 0xff] ^ kTables[3][(word >> 32) & 0xff] ^ kTables[2][(word >> 40) & 0xff] ^
          kTables[1][(word >> 48) & 0xff] ^ kTables[0][word >> 56];
  }
  for (; length > 0; ++bytes, --length) crc = (crc >> 8) ^ kTables[0][(crc ^ *bytes) & 0xff];
  return ~crc;
}

// a times b modulo the polynomial.
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? kPolynomial : 0);
  }
  return product;
}

// x^n modulo the polynomial.
constexpr uint32_t powerOfX(uint64_t n) {
  uint32_t result = 0x80000000;
  uint32_t square = 0x40000000;
  for (; n != 0; n >>= 1) {
    if ((n & 1) != 0) result = multiply(result, square);
    square = multiply(square, square);
  }
  return result;
}

// Lane lengths in bytes, tried from the longest down.
constexpr size_t kLanes[] = {8192, 1024, 128};

#if defined(__x86_64__)

// clang counts the crc32 instruction as a feature of its own.
#ifdef __clang__
#define MILLRACE_CRC "sse4.2,crc32"
#else
#define MILLRACE_CRC "sse4.2"
#endif

// The product of two reflected 32-bit values sits one bit low in 64 bits, and crc32 multiplies by x^32: hence 33.
constexpr uint32_t kShiftOne[] = {powerOfX(8192 * 8 - 33), powerOfX(1024 * 8 - 33), powerOfX(128 * 8 - 33)};
constexpr uint32_t kShiftTwo[] = {powerOfX(16384 * 8 - 33), powerOfX(2048 * 8 - 33), powerOfX(256 * 8 - 33)};

__attribute__((target(MILLRACE_CRC))) uint32_t tail(uint32_t crc, const uint8_t* bytes, size_t length) {
  uint64_t wide = crc;
  for (; length >= 8; bytes += 8, length -= 8) wide = _mm_crc32_u64(wide, load64(bytes));
  crc = static_cast<uint32_t>(wide);
  for (; length > 0; ++bytes, --length) crc = _mm_crc32_u8(crc, *bytes);
  return crc;
}

uint32_t bySse42(uint32_t seed, const uint8_t* bytes, size_t length) { return ~tail(~seed, bytes, length); }

__attribute__((target(MILLRACE_CRC ",pclmul"))) uint64_t moved(uint64_t crc, uint32_t shift) {
  const __m128i product =
      _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(crc)), _mm_cvtsi32_si128(static_cast<int>(shift)), 0);
  return _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(product)));
}

__attribute__((target(MILLRACE_CRC ",pclmul"))) uint32_t byPclmul(uint32_t seed, const uint8_t* bytes, size_t length) {
  uint64_t crc = static_cast<uint32_t>(~seed);
  for (size_t i = 0; i < 3; ++i) {
    const size_t lane = kLanes[i];
    while (length >= 3 * lane) {
      uint64_t second = 0;
      uint64_t third = 0;
      for (const uint8_t* end = bytes + lane; bytes < end; bytes += 8) {
        crc = _mm_crc32_u64(crc, load64(bytes));
        second = _mm_crc32_u64(second, load64(bytes + lane));
        third = _mm_crc32_u64(third, load64(bytes + 2 * lane));
      }
      crc = moved(crc, kShiftTwo[i]) ^ moved(second, kShiftOne[i]) ^ third;
      bytes += 2 * lane;
      length -= 3 * lane;
    }
  }
  return ~tail(static_cast<uint32_t>(crc), bytes, length);
}

#elif defined(__aarch64__)

// Joined by plain multiplication, which costs as much as summing half a kilobyte: short lanes do not pay.
constexpr uint32_t kShiftOne[] = {powerOfX(8192 * 8), powerOfX(1024 * 8)};
constexpr uint32_t kShiftTwo[] = {powerOfX(16384 * 8), powerOfX(2048 * 8)};

#ifdef __clang__
#define MILLRACE_CRC "crc"
#else
#define MILLRACE_CRC "+crc"
#endif

__attribute__((target(MILLRACE_CRC))) uint32_t byArmCrc(uint32_t seed, const uint8_t* bytes, size_t length) {
  uint32_t crc = ~seed;
  for (size_t i = 0; i < 2; ++i) {
    const size_t lane = kLanes[i];
    while (length >= 3 * lane) {
      uint32_t second = 0;
      uint32_t third = 0;
      for (const uint8_t* end = bytes + lane; bytes < end; bytes += 8) {
        crc = __crc32cd(crc, load64(bytes));
        second = __crc32cd(second, load64(bytes + lane));
        third = __crc32cd(third, load64(bytes + 2 * lane));
      }
      crc = multiply(crc, kShiftTwo[i]) ^ multiply(second, kShiftOne[i]) ^ third;
      bytes += 2 * lane;
      length -= 3 * lane;
    }
  }
  for (; length >= 8; bytes += 8, length -= 8) crc = __crc32cd(crc, load64(bytes));
  for (; length > 0; ++bytes, --length) crc = __crc32cb(crc, *bytes);
  return ~crc;
}

bool hasArmCrc() {
#ifdef __linux__
  return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
  return true;  // every Apple processor
#endif
}

#endif

}  // namespace

const Crc32cMethod* crc32cMethods() {
  static const std::array<Crc32cMethod, 4> methods = [] {
    std::array<Crc32cMethod, 4> found{};
    size_t count = 0;
#if defined(__x86_64__)
    // Asked for by hand: __builtin_cpu_supports needs a part of the run-time library that does not always link into an addon.
    unsigned a = 0, b = 0, features = 0, d = 0;
    __get_cpuid(1, &a, &b, &features, &d);
    if ((features & bit_SSE4_2) != 0) {
      if ((features & bit_PCLMUL) != 0) found[count++] = {"sse4.2+pclmul", byPclmul};
      found[count++] = {"sse4.2", bySse42};
    }
#elif defined(__aarch64__)
    if (hasArmCrc()) found[count++] = {"arm crc", byArmCrc};
#endif
    found[count] = {"table", byTable};
    return found;
  }();
  return methods.data();
}

}  // namespace millrace
