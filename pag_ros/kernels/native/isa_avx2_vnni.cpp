// x86-64 processors with AVX2 that multiply bytes.
#include "isa.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avxvnni")
#endif

#define PAG_ISA_NAME "avx2_vnni"
#define PAG_VECTOR_BYTES 32
#define PAG_TILE_ROWS 6
#define PAG_MULTIPLY_BYTES(sum, inputs, weights) \
    reinterpret_cast<Ints>(                      \
        _mm256_dpbusd_avx_epi32(__m256i(sum), __m256i(inputs), __m256i(weights)))

namespace pag::avx2_vnni {
#include "routines.hpp"
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
