// x86-64 processors with AVX-512 that multiply bytes and bf16.
#include "isa.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx512bf16,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx512vnni,avx512bf16,avx2,fma")
#endif

#define PAG_ISA_NAME "avx512_bf16"
#define PAG_VECTOR_BYTES 64
#define PAG_TILE_ROWS 12
#define PAG_MULTIPLY_BYTES(sum, inputs, weights) \
    reinterpret_cast<Ints>(                      \
        _mm512_dpbusd_epi32(__m512i(sum), __m512i(inputs), __m512i(weights)))
#define PAG_MULTIPLY_BF16(sum, inputs, weights) \
    Vector(_mm512_dpbf16_ps(__m512(sum), __m512bh(inputs), __m512bh(weights)))
#define PAG_ROUND_TO_BF16(value) Halves(_mm512_cvtneps_pbh(__m512(value)))

namespace pag::avx512_bf16 {
#include "routines.hpp"
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
