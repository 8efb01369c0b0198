// What every processor of the target architecture has: SSE2 on x86-64, NEON on 64-bit Arm.
#include "isa.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// GCC would load the inputs of all rows at once, and the sums would have no registers left.
#if defined(__aarch64__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

#define PAG_VECTOR_BYTES 16
#if defined(__aarch64__)
#define PAG_ISA_NAME "neon"
#define PAG_TILE_ROWS 12
#else
#define PAG_ISA_NAME "portable"
#define PAG_TILE_ROWS 6
#if defined(__x86_64__)
#define PAG_MULTIPLY_PAIRS(a, b) _mm_madd_epi16(__m128i(a), __m128i(b))
#endif
#endif

namespace pag::portable {
#include "routines.hpp"
}
