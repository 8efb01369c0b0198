// Small maps, interpolated row by row to the size of a large one, without large maps in between.
#pragma once

#include <vector>

#include "thread_pool.hpp"

namespace pag {

struct MapStack {
    const float* values;  // [count][height][width], or [height][width][count] if interleaved
    int count, height, width;
    bool interleaved = false;
};

// Memory of an `Enlarging`, to use again.
struct EnlargingBuffers {
    std::vector<int> left;     // of each column of the result, its column in the maps
    std::vector<float> share;  // and how much the next one counts
    std::vector<float> rows;
    std::vector<float> apart;  // a row of one of interleaved maps, of every band
};

// Two neighbouring rows of all maps, as wide as the result; between them lies one row of it.
struct EnlargedRows {
    int y;  // of the result
    const float *upper, *lower;  // [count][stride]
    float share;                 // of the lower one
    int stride;                  // leaves room to read whole vectors at the end of a row
};

// Bands of the result, and what is done with each of their rows.
class Enlarging {
   public:
    // Bilinear, pixel centres at half (OpenCV's and torch's way).
    Enlarging(const MapStack& maps, int height, int width, EnlargingBuffers& buffers);

    // Calls finish(rows) for every row of the result, on all threads.
    template <typename Finish>
    void run(ThreadPool& pool, const Finish& finish) const {
        pool.share(bands(), [&](int band) {
            Band state(*this, band);
            for (int y = state.first; y < state.last; ++y) finish(state.at(y));
        });
    }

   private:
    struct Band {
        Band(const Enlarging& enlarging, int band);
        EnlargedRows at(int y);

        const Enlarging& enlarging;
        int first, last;
        float *upper, *lower, *apart;
        int held = -1;  // the row of the maps in `upper`; the next one is in `lower`
    };

    int bands() const;
    void stretch(int y, float* out, float* apart) const;
    const float* row_of(int map, int y, float* apart) const;

    const MapStack maps_;
    const int height_, width_, stride_;
    EnlargingBuffers& buffers_;
};

}  // namespace pag
