// x86-64 processors with AVX2 and FMA: 16 registers of 8 floats.
#include "isa.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define PAG_ISA_NAME "avx2"
#define PAG_VECTOR_BYTES 32
#define PAG_TILE_ROWS 6
#define PAG_MULTIPLY_PAIRS(a, b) _mm256_madd_epi16(__m256i(a), __m256i(b))

namespace pag::avx2 {
#include "routines.hpp"
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
