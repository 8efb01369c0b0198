// 64-bit Arm processors that multiply signed bytes, as Cortex-A76 and later ones do.
#include "isa.hpp"

#if defined(PAG_HAS_ARM_EXTENSIONS)

#include <arm_neon.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#pragma GCC optimize("no-schedule-insns")  // see isa_portable.cpp
#endif

#define PAG_ISA_NAME "neon_dotprod"
#define PAG_VECTOR_BYTES 16
#define PAG_TILE_ROWS 12
#define PAG_SIGNED_INPUTS
// The instruction takes its inputs from one lane: to fill all of them would cost as much as multiplying.
#define PAG_SPREAD(four) vcreate_s8(std::uint32_t(four))
#define PAG_MULTIPLY_BYTES(sum, inputs, weights) \
    Ints(vdotq_lane_s32(int32x4_t(sum), int8x16_t(weights), inputs, 0))

namespace pag::neon_dotprod {
#include "routines.hpp"
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
