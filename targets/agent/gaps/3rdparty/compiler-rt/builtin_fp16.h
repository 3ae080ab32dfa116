// Half precision to and from single and double: ARMv8-A converts in hardware, so a cast does it.
#ifndef COMPILER_RT_BUILTIN_FP16_H_
#define COMPILER_RT_BUILTIN_FP16_H_

#include <cstdint>
#include <cstring>

template <typename Source, typename SourceBits, int, typename Half, typename HalfBits, int>
inline HalfBits __truncXfYf2__(Source value) {
  __fp16 half = static_cast<__fp16>(value);
  HalfBits bits;
  static_assert(sizeof(bits) == sizeof(half), "only to half precision");
  std::memcpy(&bits, &half, sizeof(bits));
  return bits;
}

template <typename Half, typename HalfBits, int, typename Wide, typename WideBits, int>
inline Wide __extendXfYf2__(Half bits) {
  __fp16 half;
  static_assert(sizeof(bits) == sizeof(half), "only from half precision");
  std::memcpy(&half, &bits, sizeof(half));
  return static_cast<Wide>(half);
}

#endif  // COMPILER_RT_BUILTIN_FP16_H_
