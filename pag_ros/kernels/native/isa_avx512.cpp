// x86-64 processors with AVX-512: 32 registers of 16 floats.
#include "isa.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#endif

#define PAG_ISA_NAME "avx512"
#define PAG_VECTOR_BYTES 64
#define PAG_TILE_ROWS 12
#define PAG_MULTIPLY_PAIRS(a, b) _mm512_madd_epi16(__m512i(a), __m512i(b))

namespace pag::avx512 {
#include "routines.hpp"
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
