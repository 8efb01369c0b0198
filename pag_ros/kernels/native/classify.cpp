#include "classify.hpp"

#include <algorithm>

namespace pag {

namespace {

// Rows of the result that one part computes: neighbours share the rows of logits between them.
constexpr int kBand = 16;
constexpr int kWidestVector = 16;

struct Place {
    int lower;    // index of the nearer to the origin of two neighbours
    float share;  // of the other one
};

// Where the centre of element `at` of `large` lies among `small` elements.
Place place(int at, int large, int small) {
    const double position = std::max(0.0, (at + 0.5) * small / large - 0.5);
    const int lower = std::min(int(position), small - 1);
    return {lower, lower + 1 < small ? float(position - lower) : 0.0F};
}

// Twice as wide, as most networks' results are: the compiler makes vectors of it, and no table is read.
void stretch_twice(const float* row, int width, float* out) {
    out[0] = row[0];
    for (int x = 1; x < width; ++x) {
        out[2 * x - 1] = row[x - 1] + (row[x] - row[x - 1]) * 0.25F;
        out[2 * x] = row[x - 1] + (row[x] - row[x - 1]) * 0.75F;
    }
    out[2 * width - 1] = row[width - 1];
}

// One row of every class, interpolated to the width of the result: [classes][stride].
void stretch(const LogitMap& map, int y, int width, int stride, const ClassifyBuffers& buffers,
             float* out) {
    for (int k = 0; k < map.classes; ++k, out += stride) {
        const float* row = map.logits + (std::size_t(k) * map.height + y) * map.width;
        if (width == 2 * map.width) {
            stretch_twice(row, map.width, out);
            continue;
        }
        for (int x = 0; x < width; ++x) {
            const int left = buffers.left[x];
            // The last column has no right neighbour, and a share of zero.
            const int right = std::min(left + 1, map.width - 1);
            out[x] = row[left] + (row[right] - row[left]) * buffers.share[x];
        }
    }
}

}  // namespace

void classify(const LogitMap& map, const ClassMap& result, const Isa& isa, ThreadPool& pool,
              ClassifyBuffers& buffers) {
    buffers.left.resize(result.width);
    buffers.share.resize(result.width);
    for (int x = 0; x < result.width; ++x) {
        const Place at = place(x, result.width, map.width);
        buffers.left[x] = at.lower;
        buffers.share[x] = at.share;
    }
    const int stride = (result.width + kWidestVector - 1) / kWidestVector * kWidestVector;
    const std::size_t row_floats = std::size_t(map.classes) * stride;
    const int bands = (result.height + kBand - 1) / kBand;
    if (buffers.rows.size() < 2 * row_floats * bands) buffers.rows.resize(2 * row_floats * bands);

    pool.share(bands, [&](int band) {
        float* upper = buffers.rows.data() + 2 * row_floats * band;
        float* lower = upper + row_floats;
        int held = -1;  // the row of logits in `upper`; the next one is in `lower`
        const int last = std::min((band + 1) * kBand, result.height);
        for (int y = band * kBand; y < last; ++y) {
            const Place at = place(y, result.height, map.height);
            if (at.lower != held) {
                const int below = std::min(at.lower + 1, map.height - 1);
                if (held >= 0 && at.lower == held + 1)
                    std::swap(upper, lower);
                else
                    stretch(map, at.lower, result.width, stride, buffers, upper);
                stretch(map, below, result.width, stride, buffers, lower);
                held = at.lower;
            }
            const std::size_t first = std::size_t(y) * result.width;
            isa.classify(upper, lower, at.share, map.classes, stride, result.width,
                         result.labels + first, result.confidence + first);
        }
    });
}

}  // namespace pag
