// From small maps of logits to large maps of labels, without large maps of logits.
#pragma once

#include <cstdint>

#include "enlarging.hpp"
#include "isa.hpp"

namespace pag {

struct ClassMap {
    std::uint8_t* labels;  // [height][width]
    float* confidence;     // [height][width], probability of the label
    int height, width;
};

// Logits interpolated, then the class with the highest one, the lower class of equals, and its softmax
// probability.
void classify(const MapStack& logits, const ClassMap& result, const Isa& isa, ThreadPool& pool,
              EnlargingBuffers& buffers);

}  // namespace pag
