// bf16 outside the inner loops.
#pragma once

#include <cstring>

#include "isa.hpp"

namespace pag {

inline float from_bf16(Bf16 value) {
    const std::uint32_t bits = std::uint32_t(value) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

// To the nearest bf16, of two the even one; NaN stays NaN.
inline Bf16 to_bf16(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (value != value) return static_cast<Bf16>((bits | 0x400000U) >> 16);
    return static_cast<Bf16>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

}  // namespace pag
