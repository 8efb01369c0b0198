#include "isa.hpp"

#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pag {

namespace portable {
extern const Isa kIsa;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Isa kIsa;
}
namespace avx2_vnni {
extern const Isa kIsa;
}
namespace avx512 {
extern const Isa kIsa;
}
namespace avx512_vnni {
extern const Isa kIsa;
}
namespace avx512_bf16 {
extern const Isa kIsa;
}
namespace amx {
extern const Isa kIsa;
}

namespace {

// Whether the processor has AMX for bytes and bf16 and the system lets this process use it. Linux keeps room for
// the tiles of those processes only that ask, and may refuse.
bool has_amx() {
#if defined(__linux__)
    constexpr unsigned kBf16 = 1U << 22, kTiles = 1U << 24, kBytes = 1U << 25;
    constexpr unsigned kAll = kBf16 | kTiles | kBytes;
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    if ((d & kAll) != kAll) return false;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

bool has_avx_vnni() {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1U << 4)) != 0;
}

}  // namespace
#elif defined(PAG_HAS_ARM_EXTENSIONS)
namespace neon_bf16 {
extern const Isa kIsa;
}
namespace neon_dotprod {
extern const Isa kIsa;
}
#endif

const std::vector<const Isa*>& available_isas() {
    static const std::vector<const Isa*> isas = [] {
        std::vector<const Isa*> found;
#if defined(__x86_64__)
        __builtin_cpu_init();
        const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                                __builtin_cpu_supports("avx512vl") &&
                                __builtin_cpu_supports("avx512dq") &&
                                __builtin_cpu_supports("avx512bw");
        if (has_avx512 && has_amx()) found.push_back(&amx::kIsa);
        const bool has_vnni = has_avx512 && __builtin_cpu_supports("avx512vnni");
        if (has_vnni && __builtin_cpu_supports("avx512bf16")) found.push_back(&avx512_bf16::kIsa);
        if (has_vnni) found.push_back(&avx512_vnni::kIsa);
        if (has_avx512) found.push_back(&avx512::kIsa);
        if (has_avx2 && has_avx_vnni()) found.push_back(&avx2_vnni::kIsa);
        if (has_avx2) found.push_back(&avx2::kIsa);
#elif defined(PAG_HAS_ARM_EXTENSIONS)
        // ASIMDDP, I8MM and BF16 by name; the system's headers may be older than they are.
        constexpr unsigned long kDotProducts = 1UL << 20, kBytes = 1UL << 13, kBf16 = 1UL << 14;
        constexpr unsigned long kMatrices = kBytes | kBf16;
        const bool has_dot_products = (getauxval(AT_HWCAP) & kDotProducts) != 0;
        const bool has_matrices = (getauxval(AT_HWCAP2) & kMatrices) == kMatrices;
        if (has_dot_products && has_matrices) found.push_back(&neon_bf16::kIsa);
        if (has_dot_products) found.push_back(&neon_dotprod::kIsa);
#endif
        found.push_back(&portable::kIsa);
        return found;
    }();
    return isas;
}

const Isa& chosen_isa() {
    const char* wanted = std::getenv("PAG_ROS_ISA");
    if (wanted == nullptr || *wanted == '\0') return *available_isas().front();
    std::string names;
    for (const Isa* isa : available_isas()) {
        if (std::string(wanted) == isa->name) return *isa;
        names += names.empty() ? isa->name : std::string(", ") + isa->name;
    }
    throw std::invalid_argument("PAG_ROS_ISA is " + std::string(wanted) +
                                ", this processor has " + names);
}

}  // namespace pag
