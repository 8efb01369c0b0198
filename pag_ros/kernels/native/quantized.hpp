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
        int dilation;    // distance of the taps
        int zero_point;  // the input that stands for zero, 0 to 255
        bool relu;
    };

    // The result is scale * (bias + sum of weight * (input - zero_point)).
    // weight: [outputs][kernel][kernel][channels]; bias, scale: [outputs].
    // Throws std::invalid_argument if a sum may leave 32 bits.
    QuantizedLayer(const Form& form, const std::int8_t* weight, const std::int32_t* bias,
                   const float* scale, const Isa& isa);

    const Form form;
    const Isa& isa() const { return isa_; }
    int taps() const { return form.kernel * form.kernel; }
    int taps_per_group() const { return taps_per_group_; }
    int steps() const { return steps_; }
    QuantizedWeights weights() const { return {weights_.data(), bias_.data(), scale_.data()}; }

   private:
    const Isa& isa_;
    int taps_per_group_;
    int steps_;  // of 64 inputs, in all groups of taps
    AlignedVector<std::int8_t> weights_;
    AlignedVector<std::int32_t> bias_;
    AlignedVector<float> scale_;
};

class QuantizedBranch {
   public:
    // Every layer takes the outputs of the one before; at least one, all of one instruction set.
    // The result of a layer before the last one is in units of the next one's input, that of the last
    // one is a float. input_scale: what one unit of the first layer's input counts.
    // residual: the last layer adds the base before its activation.
    QuantizedBranch(std::vector<std::shared_ptr<QuantizedLayer>> layers, float input_scale,
                    bool residual);

    const std::vector<std::shared_ptr<QuantizedLayer>>& layers() const { return layers_; }
    bool residual() const { return residual_; }

    // out = base, and at the listed pixels the layers' result, as Branch::run. With a stream there are
    // two layers at least, and as many outputs as inputs.
    void run(const Job& job, Workspace& workspace) const;

    // All of x in units of the first layer.
    void quantize(const float* x, std::int64_t count, std::uint8_t* to) const;

   private:
    std::vector<std::shared_ptr<QuantizedLayer>> layers_;
    float inverse_scale_;
    bool residual_;
};

}  // namespace pag
