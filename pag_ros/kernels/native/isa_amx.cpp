// x86-64 processors that multiply matrices of bytes and of bf16, with AVX-512 for everything else.
#include "isa.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-int8,amx-bf16,avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-int8,amx-bf16,avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma")
#endif

#define PAG_ISA_NAME "amx"
#define PAG_VECTOR_BYTES 64
#define PAG_TILE_ROWS 12
#define PAG_HAS_MATRICES
#define PAG_ROUND_TO_BF16(value) Halves(_mm512_cvtneps_pbh(__m512(value)))

namespace pag::amx {

#include "routines.hpp"

}  // namespace pag::amx

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
