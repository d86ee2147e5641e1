#pragma once

// Highway is configured by macros, before its first header: the only macros of this project, for every file with kernels.
//
// Only targets with fused multiply-add are kept, and one lane without vectors for all other machines, where std::fma does the same: fusing decides
// bits. Targets with AVX-512 beyond AVX3 would only repeat it. EMU128 is broken in g++ 12 and is left out everywhere, for one fallback on all
// compilers.
#define HWY_BROKEN_EMU128 1
#define HWY_DISABLED_TARGETS (~(HWY_AVX3 | HWY_AVX2 | HWY_NEON | HWY_SCALAR))
