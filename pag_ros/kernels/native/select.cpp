#include "select.hpp"

#include <array>
#include <cstring>

namespace pag {

namespace {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;

// A number that orders as the score does. Both zeros are equal, every NaN is 0.
std::uint32_t order_key(float score) {
    if (score != score) return 0;
    score += 0.0F;  // -0 becomes +0
    std::uint32_t bits;
    std::memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}

// Radix selection from the highest digit down: of the keys that still may be the rank-th largest,
// those with its next digit stay. Leaves in `rank` how many keys equal to it belong to the best.
std::uint32_t rank_largest(const std::vector<std::uint32_t>& keys, int size,
                           std::vector<std::uint32_t>& candidates, int& rank) {
    const std::uint32_t* left = keys.data();
    int count = size;
    std::uint32_t found = 0;
    for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
        std::array<int, kDigits> histogram{};
        for (int i = 0; i < count; ++i) ++histogram[left[i] >> shift & (kDigits - 1)];
        std::uint32_t digit = kDigits - 1;
        while (rank > histogram[digit]) rank -= histogram[digit--];
        found |= digit << shift;
        int kept = 0;
        for (int i = 0; i < count; ++i) {
            candidates[kept] = left[i];
            kept += (left[i] >> shift & (kDigits - 1)) == digit;
        }
        left = candidates.data();
        count = kept;
    }
    return found;
}

}  // namespace

void select(const float* score, int size, int keep, std::int32_t* index, SelectBuffers& buffers) {
    if (keep <= 0 || keep >= size) {
        for (int pixel = 0; pixel < keep; ++pixel) index[pixel] = pixel;
        return;
    }
    // One more candidate than keys: the loop above writes before it decides.
    buffers.keys.resize(size);
    buffers.candidates.resize(size + 1);
    for (int pixel = 0; pixel < size; ++pixel) buffers.keys[pixel] = order_key(score[pixel]);

    int ties = keep;
    const std::uint32_t last = rank_largest(buffers.keys, size, buffers.candidates, ties);
    int listed = 0;
    for (int pixel = 0; listed < keep; ++pixel) {
        const std::uint32_t key = buffers.keys[pixel];
        const bool ties_in = key == last && ties > 0;
        ties -= ties_in;
        index[listed] = pixel;
        listed += key > last || ties_in;
    }
}

}  // namespace pag
