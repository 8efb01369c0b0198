// From small maps of logits to large maps of labels, without large maps of logits.
#pragma once

#include <cstdint>
#include <vector>

#include "isa.hpp"
#include "thread_pool.hpp"

namespace pag {

struct LogitMap {
    const float* logits;  // [classes][height][width]
    int classes, height, width;
};

struct ClassMap {
    std::uint8_t* labels;  // [height][width]
    float* confidence;     // [height][width], probability of the label
    int height, width;
};

// Memory of `classify`, to use again.
struct ClassifyBuffers {
    std::vector<int> left;     // of each column of the result, its column in the logits
    std::vector<float> share;  // and how much the next one counts
    std::vector<float> rows;
};

// Logits interpolated bilinearly, pixel centres at half (OpenCV's and torch's way), then the class with
// the highest one, the lower class of equals, and its softmax probability.
void classify(const LogitMap& map, const ClassMap& result, const Isa& isa, ThreadPool& pool,
              ClassifyBuffers& buffers);

}  // namespace pag
