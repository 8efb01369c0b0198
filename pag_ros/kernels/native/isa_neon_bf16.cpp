// 64-bit Arm processors that multiply small matrices of bytes and of bf16 (Armv8.6), as Neoverse V1 and N2 do.
#include "isa.hpp"

#if defined(PAG_HAS_ARM_EXTENSIONS)

#include <arm_neon.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod,i8mm,bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm+bf16")
#pragma GCC optimize("no-schedule-insns")  // see isa_portable.cpp
#endif

#define PAG_ISA_NAME "neon_bf16"
#define PAG_VECTOR_BYTES 16
#define PAG_TILE_ROWS 12
#define PAG_HAS_BLOCKS
#define PAG_ROUND_TO_BF16(value) Halves(vcvt_bf16_f32(float32x4_t(value)))

namespace pag::neon_bf16 {
#include "routines.hpp"
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
