#include "enlarging.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace pag {

namespace {

// Rows of the result that one part computes: neighbours share the rows of the maps between them.
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

}  // namespace

Enlarging::Enlarging(const MapStack& maps, int height, int width, EnlargingBuffers& buffers)
    : maps_(maps),
      height_(height),
      width_(width),
      stride_((width + kWidestVector - 1) / kWidestVector * kWidestVector),
      buffers_(buffers) {
    buffers.left.resize(width);
    buffers.share.resize(width);
    for (int x = 0; x < width; ++x) {
        const Place at = place(x, width, maps.width);
        buffers.left[x] = at.lower;
        buffers.share[x] = at.share;
    }
    const std::size_t floats = 2 * std::size_t(maps.count) * stride_ * bands();
    if (buffers.rows.size() < floats) buffers.rows.resize(floats);
    const std::size_t row_floats = maps.interleaved ? std::size_t(maps.width) * bands() : 0;
    if (buffers.apart.size() < row_floats) buffers.apart.resize(row_floats);
}

int Enlarging::bands() const { return (height_ + kBand - 1) / kBand; }

// One row of one map; of an interleaved one it is taken to `apart` first.
const float* Enlarging::row_of(int map, int y, float* apart) const {
    if (!maps_.interleaved)
        return maps_.values + (std::size_t(map) * maps_.height + y) * maps_.width;
    const float* from = maps_.values + std::size_t(y) * maps_.width * maps_.count + map;
    for (int x = 0; x < maps_.width; ++x) apart[x] = from[std::size_t(x) * maps_.count];
    return apart;
}

// One row of every map, interpolated to the width of the result: [count][stride].
void Enlarging::stretch(int y, float* out, float* apart) const {
    for (int k = 0; k < maps_.count; ++k, out += stride_) {
        const float* row = row_of(k, y, apart);
        if (width_ == 2 * maps_.width) {
            stretch_twice(row, maps_.width, out);
            continue;
        }
        for (int x = 0; x < width_; ++x) {
            const int left = buffers_.left[x];
            // The last column has no right neighbour, and a share of zero.
            const int right = std::min(left + 1, maps_.width - 1);
            out[x] = row[left] + (row[right] - row[left]) * buffers_.share[x];
        }
    }
}

Enlarging::Band::Band(const Enlarging& enlarging, int band)
    : enlarging(enlarging),
      first(band * kBand),
      last(std::min(first + kBand, enlarging.height_)) {
    const std::size_t floats = std::size_t(enlarging.maps_.count) * enlarging.stride_;
    upper = enlarging.buffers_.rows.data() + 2 * floats * band;
    lower = upper + floats;
    apart = enlarging.buffers_.apart.data();
    if (enlarging.maps_.interleaved) apart += std::size_t(enlarging.maps_.width) * band;
}

EnlargedRows Enlarging::Band::at(int y) {
    const MapStack& maps = enlarging.maps_;
    const Place at = place(y, enlarging.height_, maps.height);
    if (at.lower != held) {
        if (held >= 0 && at.lower == held + 1)
            std::swap(upper, lower);
        else
            enlarging.stretch(at.lower, upper, apart);
        enlarging.stretch(std::min(at.lower + 1, maps.height - 1), lower, apart);
        held = at.lower;
    }
    return {y, upper, lower, at.share, enlarging.stride_};
}

}  // namespace pag
