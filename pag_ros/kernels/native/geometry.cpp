#include "geometry.hpp"

namespace pag {

void enlarge_geometry(const MapStack& maps, float least, const GeometryMap& result, const Isa& isa,
                      ThreadPool& pool, EnlargingBuffers& buffers) {
    const Enlarging enlarging(maps, result.height, result.width, buffers);
    enlarging.run(pool, [&](const EnlargedRows& rows) {
        const std::size_t first = std::size_t(rows.y) * result.width;
        isa.exponentials(rows.upper, rows.lower, rows.share, result.width, result.depth + first);
        isa.unit_vectors(rows.upper + rows.stride, rows.lower + rows.stride, rows.share, rows.stride,
                         result.width, least, result.normals + 3 * first);
    });
}

void enlarge_normals(const MapStack& maps, float least, const NormalMap& result, const Isa& isa,
                     ThreadPool& pool, EnlargingBuffers& buffers) {
    const Enlarging enlarging(maps, result.height, result.width, buffers);
    enlarging.run(pool, [&](const EnlargedRows& rows) {
        isa.unit_vectors(rows.upper, rows.lower, rows.share, rows.stride, result.width, least,
                         result.normals + 3 * std::size_t(rows.y) * result.width);
    });
}

}  // namespace pag
