// The best pixels of a score map.
#pragma once

#include <cstdint>
#include <vector>

namespace pag {

// Memory of `select`, to use again.
struct SelectBuffers {
    std::vector<std::uint32_t> keys, candidates;
};

// Writes the `keep` pixels with the highest of `size` scores to `index`, in ascending order. Among
// equal scores the lower pixel wins; NaN is the lowest score. 0 <= keep <= size. Time O(size).
void select(const float* score, int size, int keep, std::int32_t* index, SelectBuffers& buffers);

}  // namespace pag
