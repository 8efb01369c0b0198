// Which instructions to use: every instruction set brings the same few routines, chosen at run time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// What a 64-bit Arm processor may have beside NEON. Clang knows it in single functions since version 16.
#if defined(__aarch64__) && defined(__linux__) && !(defined(__clang__) && __clang_major__ < 16)
#define PAG_HAS_ARM_EXTENSIONS
#endif

namespace pag {

// A float's upper half: its sign, its exponent and 7 bits of its fraction.
using Bf16 = std::uint16_t;

constexpr int kMaxTileRows = 32;
constexpr int kMaxTaps = 25;

// Some listed pixels of one layer, ready to compute. Rows are pixels, a tap is one place of the
// kernel's window: a row pointer per tap and pixel says where the input channels lie. Padding and
// pixels that were not computed point to a row of zeros.
struct Tile {
    const void* rows[kMaxTaps][kMaxTileRows];  // of floats; in a bf16 layer of Bf16
    void* out[kMaxTileRows];                   // floats, or Bf16 where `rounds`
    const float* base[kMaxTileRows];  // what to add to the result; read only where has_base
    std::uint32_t live_taps;          // bit t: some row of tap t is not the row of zeros
    int count;                        // pixels
    int taps;
    int channels;  // of the input
    bool has_base;
    float lower, upper;  // the activation clamps to these
    // Of bf16 layers:
    const void* zeros;
    bool rounds;     // results become bf16; whole panels of them
    Bf16* gathered;  // room: [bf16_taps_per_block][kMaxTileRows][padded channels + kBf16Step]
    float* sums;     // room: [panels][kMaxTileRows][kBf16Panel]
};

// Packed bf16 weights: [panels][taps][steps][2][16][16][2], that is panels of 32 output channels, for
// each tap steps of 32 inputs; in each for both halves of the panel 16 pairs of inputs for each of 16
// output channels. It is the order of AMX tiles, and every 4 bytes are what vdpbf16ps multiplies at once.
// Rows of inputs are padded with zeros to whole steps as well.
constexpr int kBf16Panel = 32;
constexpr int kBf16Step = 32;
constexpr int kBf16Half = 16 * kBf16Step;
constexpr int padded_to_steps(int channels) {
    return (channels + kBf16Step - 1) / kBf16Step * kBf16Step;
}
// Taps whose gathered inputs fit into the first-level cache, beside what passes by.
constexpr int bf16_taps_per_block(int channels) {
    constexpr int kBytes = 24 * 1024, kTileBytes = kMaxTileRows * int(sizeof(Bf16));
    const int taps = kBytes / kTileBytes / padded_to_steps(channels);
    return taps < 1 ? 1 : taps > kMaxTaps ? kMaxTaps : taps;
}

// The routines of layers whose weights and inputs are bf16; sums and biases are floats.
struct Bf16Routines {
    int tile_rows;  // most pixels of a tile
    bool native;    // the processor multiplies bf16; else floats that were rounded to it
    // Channels `column` to `end` of a convolution; weights, bias: the panels from that of `column` on.
    void (*convolve)(const Tile&, const Bf16* weights, const float* bias, int column, int end);
    // A depthwise convolution, all channels; weights [taps][padded channels], bias [padded channels],
    // both in the order of `split_channel`.
    void (*convolve_depthwise)(const Tile&, const float* weights, const float* bias);
    // To the nearest bf16, of two the even one, and zeros up to whole steps.
    void (*round)(const float* from, Bf16* to, int count);
};

constexpr int kMaxQuantizedRows = 32;
// Packed int8 weights: [panels][steps][2][16][16][4], that is panels of 32 output channels, steps of 64
// inputs; in each for both halves of the panel 16 times 4 inputs for each of 16 output channels.
// It is the order of AMX tiles, and every 4 bytes are what VNNI multiplies at once.
// Taps come in groups, whose channels lie one after another; every group ends with a whole step.
constexpr int kQuantizedPanel = 32;
constexpr int kQuantizedStep = 64;
constexpr int kQuantizedHalf = 16 * kQuantizedStep;  // bytes

// Some listed pixels of one quantized layer. The routine gathers their inputs into rows.
struct QuantizedTile {
    std::uint8_t* inputs;  // [tile_rows][stride], room for `steps` steps in each row
    std::int64_t stride;
    std::int32_t* sums;  // room for [panels to compute][tile_rows][32]
    int first_panel, end_panel;  // of output channels, to compute
    int steps;
    int count;  // pixels
    int taps, taps_per_group;
    int channels;                                           // of the input
    int outputs;                                            // channels of the result
    const std::uint8_t* rows[kMaxTaps][kMaxQuantizedRows];  // where the channels of a tap lie
    // Every pixel's result: quantized, float, or both.
    bool has_out, has_base, has_quantized;
    std::uint8_t* quantized[kMaxQuantizedRows];
    float* out[kMaxQuantizedRows];
    const float* base[kMaxQuantizedRows];  // what to add to a float result
    float lower, upper;                    // of the result, before the zero point is added
    int zero_point;                        // of a quantized result
    const float* inverse_scale;            // [panels * 32], float results are quantized by
};

struct QuantizedWeights {
    const std::int8_t* packed;
    const std::int32_t* bias;  // [panels * 32], zero point and shift of the input taken into account
    const float* scale;        // [panels * 32], what one unit of the sum counts in the result
};

// The routines of layers with int8 weights and uint8 inputs. All instruction sets give the same bits.
struct QuantizedRoutines {
    int tile_rows;    // most pixels of a tile
    int input_shift;  // what `convolve` subtracts from every input; the bias has to make up for it
    // The tile's panels of output channels.
    void (*convolve)(const QuantizedTile&, const QuantizedWeights&);
    // The channels of a pixel to whole multiples of 1 / inverse_scale [channels], zero at zero_point.
    void (*quantize)(const float* from, std::uint8_t* to, int channels, const float* inverse_scale,
                     int zero_point);
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
    // The exponentials of `width` values between two rows, as above.
    void (*exponentials)(const float* upper, const float* lower, float share, int width, float* out);
    // The vectors [width][3] between two rows of x, y and z, divided by their length, or by `least` if
    // that is more.
    void (*unit_vectors)(const float* upper, const float* lower, float share, int stride, int width,
                         float least, float* out);
    // What a gate says of `pixels` pixels one behind the other: bias + sum of gate * x over the channels.
    void (*score)(const float* x, int pixels, int channels, const float* gate, float bias,
                  float* scores);
    // So many rounds of multiply-adds in registers; returns the floating-point operations. The result
    // goes to `sink`, so that no compiler leaves them out.
    double (*multiply_add)(int rounds, float* sink);
    QuantizedRoutines quantized;
    Bf16Routines bf16;
};

// Where a depthwise bf16 layer keeps a channel: in every panel those with even numbers come first.
constexpr int split_channel(int channel, int panel) {
    const int inner = channel % panel;
    return channel - inner + inner % 2 * (panel / 2) + inner / 2;
}

// All that this processor can run, the best first. The last one runs everywhere.
const std::vector<const Isa*>& available_isas();

// The best one, or the one that the environment variable PAG_ROS_ISA names.
// Throws std::invalid_argument if this processor does not have it.
const Isa& chosen_isa();

}  // namespace pag
