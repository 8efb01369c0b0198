#include "classify.hpp"

namespace pag {

void classify(const MapStack& logits, const ClassMap& result, const Isa& isa, ThreadPool& pool,
              EnlargingBuffers& buffers) {
    const Enlarging enlarging(logits, result.height, result.width, buffers);
    enlarging.run(pool, [&](const EnlargedRows& rows) {
        const std::size_t first = std::size_t(rows.y) * result.width;
        isa.classify(rows.upper, rows.lower, rows.share, logits.count, rows.stride, result.width,
                     result.labels + first, result.confidence + first);
    });
}

}  // namespace pag
