// Sums of two rows by two columns in one register; a part of quantized_routines.hpp. It is for processors that
// multiply 2x8 by 8x2 bytes, or 2x4 by 4x2 bf16: both lie in memory in steps of 64 bytes of a row.

// 8 bytes of each of two rows of inputs, or of two output channels of weights; or 2x2 sums.
typedef std::int64_t Twins __attribute__((vector_size(PAG_VECTOR_BYTES), aligned(4), may_alias));

constexpr int kBlocks = 4;  // two output channels each
enum class Factor { byte, bf16 };

template <Factor factor>
static inline Twins add_products(Twins sums, Twins inputs, Twins weights) {
    if constexpr (factor == Factor::byte)
        return Twins(vusmmlaq_s32(int32x4_t(sums), uint8x16_t(inputs), int8x16_t(weights)));
    else
        return Twins(vbfmmlaq_f32(float32x4_t(sums), bfloat16x8_t(inputs), bfloat16x8_t(weights)));
}

static inline std::int64_t load_eight(const void* from) {
    typedef std::int64_t Eight __attribute__((aligned(1), may_alias));
    return *static_cast<const Eight*>(from);
}

// Weights of 4 output channels: 4 bytes of each, and the 4 bytes that follow in the next line.
static inline void load_twins(const char* line, Twins* weights) {
    const int32x4_t first = int32x4_t(load_ints(line)), second = int32x4_t(load_ints(line + 64));
    weights[0] = Twins(vzip1q_s32(first, second));
    weights[1] = Twins(vzip2q_s32(first, second));
}

// Adds the products of one step of the rows and of the weights of 8 output channels.
template <Factor factor, int Pairs>
static inline void add_step(const void* const* rows, int step, const void* weights,
                            Twins (&sums)[Pairs][kBlocks]) {
    const char* line = static_cast<const char*>(weights);
    for (int at = step * 64; at < step * 64 + 64; at += 8, line += 2 * 64) {
        Twins weight[kBlocks];
        load_twins(line, weight);
        load_twins(line + 16, weight + 2);
#pragma GCC unroll 6
        for (int pair = 0; pair < Pairs; ++pair) {
            const char* upper = static_cast<const char*>(rows[2 * pair]);
            const char* lower = static_cast<const char*>(rows[2 * pair + 1]);
            const Twins input{load_eight(upper + at), load_eight(lower + at)};
#pragma GCC unroll 4
            for (int n = 0; n < kBlocks; ++n)
                sums[pair][n] = add_products<factor>(sums[pair][n], input, weight[n]);
        }
    }
}

// Both rows of a pair become these 8 numbers.
static inline void fill_rows(Vector first, Vector second, Twins* sums) {
    const Twins a = Twins(first), b = Twins(second);
    const std::int64_t columns[kBlocks] = {a[0], a[1], b[0], b[1]};
    for (int n = 0; n < kBlocks; ++n) sums[n] = columns[n] - Twins{};
}

// Vector n of the first row of a pair, or of the second one.
static inline Twins row_of(const Twins* sums, int row, int n) {
    return Twins{sums[2 * n][row], sums[2 * n + 1][row]};
}
