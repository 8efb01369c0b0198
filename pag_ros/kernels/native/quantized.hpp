// Convolutions of int8 weights and uint8 inputs, one after another at the same listed pixels.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "aligned.hpp"
#include "isa.hpp"
#include "job.hpp"

namespace pag {

// A convolution with its weights packed for the routines of quantized layers.
class QuantizedLayer {
   public:
    struct Form {
        int outputs, kernel, channels;
        int dilation;    // distance of the taps; ignored where by_map
        bool by_map;     // every pixel has a dilation of its own, at 0 the input passes through
        int zero_point;  // the input that stands for zero, 0 to 255
        bool relu;
    };

    // The result is scale * (bias + sum of weight * (input - zero_point)).
    // weight: [outputs][kernel][kernel][channels]; bias, scale, passed: [outputs]. passed: what one
    // unit of an input that passes through counts in the result; null where none does.
    // Throws std::invalid_argument if a sum may leave 32 bits.
    QuantizedLayer(const Form& form, const std::int8_t* weight, const std::int32_t* bias,
                   const float* scale, const float* passed, const Isa& isa);

    const Form form;
    const Isa& isa() const { return isa_; }
    int taps() const { return form.kernel * form.kernel; }
    int taps_per_group() const { return taps_per_group_; }
    int steps() const { return steps_; }
    // Panels of output channels, how many share the fast cache, and how many such groups there are.
    int panels() const { return panels_; }
    int panels_per_group() const { return panels_per_group_; }
    int groups() const { return ceil_div(panels_, panels_per_group_); }
    float passed(int channel) const { return passed_[channel]; }
    QuantizedWeights weights() const { return {weights_.data(), bias_.data(), scale_.data()}; }

   private:
    const Isa& isa_;
    int panels_;
    int panels_per_group_ = 1;
    int taps_per_group_;
    int steps_;  // of 64 inputs, in all groups of taps
    AlignedVector<std::int8_t> weights_;
    AlignedVector<std::int32_t> bias_;
    AlignedVector<float> scale_;
    std::vector<float> passed_;
};

class QuantizedBranch : public Layered<QuantizedLayer> {
   public:
    // The result of a layer before the last one is in units of the next one's input, that of the last
    // one is a float. input_scale: what one unit of each channel of the first layer's input counts.
    QuantizedBranch(std::vector<std::shared_ptr<QuantizedLayer>> layers,
                    std::vector<float> input_scale, bool residual);

    const std::vector<float>& input_scale() const { return input_scale_; }
    int zero_point() const { return layers_.front()->form.zero_point; }

    // out = base, and at the listed pixels the layers' result, as Branch::run. With a next stream there
    // are as many outputs as inputs, and two layers at least where it is the stream.
    void run(const Job& job, Workspace& workspace) const override;

    // x [pixels][channels] in units of the first layer.
    void quantize(const float* x, std::int64_t pixels, std::uint8_t* to) const;

   private:
    std::vector<float> input_scale_;
    AlignedVector<float> inverse_scale_;  // padded with zeros to whole panels
};

}  // namespace pag
