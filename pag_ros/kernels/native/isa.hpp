// Which instructions to use: every instruction set brings the same few routines, chosen at run time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pag {

constexpr int kMaxTileRows = 12;
constexpr int kMaxTaps = 25;

// Some listed pixels of one layer, ready to compute. Rows are pixels, a tap is one place of the
// kernel's window: a row pointer per tap and pixel says where the input channels lie. Padding and
// pixels that were not computed point to a row of zeros.
struct Tile {
    const float* rows[kMaxTaps][kMaxTileRows];
    float* out[kMaxTileRows];
    const float* base[kMaxTileRows];  // what to add to the result; read only where has_base
    std::uint32_t live_taps;          // bit t: some row of tap t is not the row of zeros
    int count;                        // pixels
    int taps;
    int channels;  // of the input
    bool has_base;
    float lower, upper;  // the activation clamps to these
};

struct Isa {
    const char* name;
    int tile_rows;  // most pixels of a tile
    int panel;      // output channels of a panel of packed weights
    // Channels column .. column + columns of a convolution; weights: one panel [taps][channels][panel].
    void (*convolve)(const Tile&, const float* weights, const float* bias, int column, int columns);
    // A depthwise convolution, all channels; weights [taps][channels].
    void (*convolve_depthwise)(const Tile&, const float* weights, const float* bias);
    // The best class of `width` pixels and its softmax probability. Logits: class k of the row above is
    // upper[k * stride + x], below it lower[k * stride + x]; `share` of the lower one counts.
    void (*classify)(const float* upper, const float* lower, float share, int classes, int stride,
                     int width, std::uint8_t* labels, float* confidence);
    // So many rounds of multiply-adds in registers; returns the floating-point operations. The result
    // goes to `sink`, so that no compiler leaves them out.
    double (*multiply_add)(int rounds, float* sink);
};

// All that this processor can run, the best first. The last one runs everywhere.
const std::vector<const Isa*>& available_isas();

// The best one, or the one that the environment variable PAG_ROS_ISA names.
// Throws std::invalid_argument if this processor does not have it.
const Isa& chosen_isa();

}  // namespace pag
