// Convolutions one after another at the same listed pixels: what a gated block computes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "aligned.hpp"
#include "isa.hpp"
#include "job.hpp"

namespace pag {

// What a layer's weights and inputs are rounded to; sums are floats.
enum class Precision { fp32, bf16 };

// A convolution with its weights packed for one instruction set.
class Layer {
   public:
    struct Form {
        int outputs, kernel, channels;
        bool depthwise;  // every output channel sees its own input channel only; outputs = channels
        int dilation;    // distance of the taps; ignored where by_map
        bool by_map;     // every pixel has a dilation of its own, at 0 the input passes through
        float lower, upper;  // of the activation
    };

    // weight: [outputs][kernel][kernel][channels], depthwise [outputs][kernel][kernel]; bias: [outputs].
    Layer(const Form& form, const float* weight, const float* bias, const Isa& isa);

    // The layer in bf16, packed at the first call. Not for two threads at once.
    std::shared_ptr<Layer> in_bf16();

    const Form form;
    const Precision precision = Precision::fp32;
    const Isa& isa() const { return isa_; }
    // Most pixels of a tile.
    int tile_rows() const {
        return precision == Precision::bf16 ? isa_.bf16.tile_rows : isa_.tile_rows;
    }
    int taps() const { return form.kernel * form.kernel; }
    std::int64_t macs_per_pixel() const {
        return std::int64_t(taps()) * form.outputs * (form.depthwise ? 1 : form.channels);
    }
    // Panels of output channels that share the fast cache, and how many such groups there are.
    int panels_per_group() const { return panels_per_group_; }
    int groups() const;

    // Output channels of group `group`, at the pixels of `tile`.
    void compute(const Tile& tile, int group) const;

   private:
    // The same in bf16.
    explicit Layer(const Layer& exact);

    float packed_weight(int output, int tap, int channel) const;
    void pack_bf16(const Layer& exact);
    void split_depthwise(const Layer& exact);
    void compute_bf16(const Tile& tile, int group) const;

    const Isa& isa_;
    int panels_;
    int panels_per_group_;
    AlignedVector<float> weights_;  // [panels][taps][channels][panel], depthwise [taps][channels]
    AlignedVector<float> bias_;     // padded with zeros to whole panels
    AlignedVector<Bf16> bf16_weights_;  // see Bf16Routines; depthwise ones are in weights_
    std::shared_ptr<Layer> in_bf16_;
};

class Branch : public Layered<Layer> {
   public:
    Branch(std::vector<std::shared_ptr<Layer>> layers, bool residual, Precision precision);

    // out = base, and at the listed pixels the layers' result. A pixel that is not listed gives
    // nothing to its neighbours between two layers; the first layer sees x everywhere.
    // Throws std::invalid_argument, before anything is written, if index names a pixel outside the
    // map or one pixel twice, or a dilation is negative. Other threads may write to any input
    // meanwhile: that changes results and nothing else.
    void run(const Job& job, Workspace& workspace) const override;

   private:
    void run_fp32(const Job& job, Workspace& workspace) const;
    void run_bf16(const Job& job, Workspace& workspace) const;

    Precision precision_;
};

}  // namespace pag
