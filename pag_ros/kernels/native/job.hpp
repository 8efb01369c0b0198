// What a run of convolutions at listed pixels is given, and what all kinds of them do with it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "aligned.hpp"
#include "enlarging.hpp"
#include "select.hpp"
#include "thread_pool.hpp"

namespace pag {

struct Workspace;

// One run of a branch. All maps are channels-last and dense in memory.
struct Job {
    const float* x;  // [height][width][channels of the first layer]
    int height, width;
    const std::int32_t* index;  // [count], the pixels y * width + x to compute
    int count;
    const float* base;                 // [height][width][outputs], or null for zeros
    const std::int32_t* dilation_map;  // [height * width], or null
    float* out;                        // [height][width][outputs]; may be x or base
    // Of quantized layers: x in units of the first one, or null.
    const std::uint8_t* stream;
    std::uint8_t* next_stream;  // what follows the result at the listed pixels, or null; may be stream
};

// What is computed at listed pixels, in whatever numbers.
class Computation {
   public:
    virtual ~Computation() = default;
    virtual int inputs() const = 0;   // channels
    virtual int outputs() const = 0;  // channels
    virtual bool is_by_map() const = 0;  // it needs a dilation map
    virtual bool residual() const = 0;   // it adds the base at the listed pixels
    virtual void run(const Job& job, Workspace& workspace) const = 0;
};

// Layers of one kind, each of which takes the outputs of the one before; at least one, all of one
// instruction set.
template <typename Layer>
class Layered : public Computation {
   public:
    // residual: the last layer adds the base before its activation.
    Layered(std::vector<std::shared_ptr<Layer>> layers, bool residual)
        : layers_(std::move(layers)), residual_(residual) {}

    const std::vector<std::shared_ptr<Layer>>& layers() const { return layers_; }
    int inputs() const override { return layers_.front()->form.channels; }
    int outputs() const override { return layers_.back()->form.outputs; }
    bool is_by_map() const override {
        return std::any_of(layers_.begin(), layers_.end(),
                           [](const auto& layer) { return layer->form.by_map; });
    }
    bool residual() const override { return residual_; }

   protected:
    std::vector<std::shared_ptr<Layer>> layers_;
    bool residual_;
};

// Memory and threads that runs use one after another.
struct Workspace {
    explicit Workspace(int threads) : pool(threads) {}

    ThreadPool pool;
    std::mutex in_use;
    std::vector<std::int32_t> listed;     // the job's index
    std::vector<std::int32_t> dilations;  // the job's dilation_map
    std::vector<std::int32_t> position;  // of each pixel in the list; count where it is not listed
    std::vector<std::int32_t> order;     // positions as a layer takes them
    std::vector<std::uint8_t> keys;      // what they are ordered by
    std::vector<float> zeros;
    EnlargingBuffers enlarging;
    // Of a trunk's blocks: the scores, the pixels chosen by them, and what a predictor says of these.
    std::vector<float> scores;
    SelectBuffers selecting;
    std::vector<std::int32_t> chosen;
    std::vector<std::int32_t> everywhere;  // all pixels
    std::vector<float> maps[2];            // before projections that are not the last one
    std::vector<float> predicted;
    std::vector<std::int32_t> predicted_dilations;
    std::vector<float> between[2];  // results between layers, [count + 1][channels]
    // Of bf16 layers: the input, with one row more, and the results between layers; rows are padded.
    AlignedVector<std::uint16_t> bf16_input, bf16_between[2];
    // Which pixels of x the first layer reads, where it reads a copy in another type.
    std::vector<std::uint8_t> wanted, wanted_rows;
    // Of quantized layers: the map that the first one reads, with one row more, and the results
    // between layers, [count + 1][channels].
    AlignedVector<std::uint8_t> quantized;
    AlignedVector<std::uint8_t> quantized_between[2];
    AlignedVector<std::uint8_t> stream;  // the map of a trunk in units of its blocks
};

constexpr int kCopyPixels = 64;

inline int ceil_div(int a, int b) { return (a + b - 1) / b; }

// The job with its list and its map copied to memory that no other thread writes to: what is checked
// afterwards stays as it is, and so does every address that is made of it.
Job with_own_lists(Job job, Workspace& workspace);

// Check the list and the map, and fill workspace.position from the list; or throw.
void locate(const Job& job, Workspace& workspace);

// Fills workspace.wanted: 1 at the pixels that a layer with such taps reads for the listed ones.
void mark_wanted(int kernel, int dilation, const Job& job, Workspace& workspace);

// The base, or zeros, at the pixels first .. last that are not listed.
void copy_unlisted(const Job& job, const std::int32_t* position, int channels, int first, int last);

}  // namespace pag
