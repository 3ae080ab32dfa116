// A stream of bytes, and typed values in it through Serializer<T> (serializer.h).
#ifndef TVM_SUPPORT_IO_H_
#define TVM_SUPPORT_IO_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tvm {
namespace support {

template <typename T, typename = void>
struct Serializer {
  static constexpr bool enabled = false;
};

class Stream {
 public:
  virtual ~Stream() = default;
  virtual size_t Read(void* bytes, size_t count) = 0;
  virtual size_t Write(const void* bytes, size_t count) = 0;

  template <typename T>
  bool Read(T* value) {
    static_assert(Serializer<T>::enabled, "no Serializer for this type");
    return Serializer<T>::Read(this, value);
  }
  template <typename T>
  void Write(const T& value) {
    static_assert(Serializer<T>::enabled, "no Serializer for this type");
    Serializer<T>::Write(this, value);
  }

  template <typename T>
  bool ReadArray(T* values, size_t count) {
    if constexpr (std::is_arithmetic_v<T>) {
      return Read(static_cast<void*>(values), count * sizeof(T)) == count * sizeof(T);
    }
    for (T* end = values + count; values != end; ++values) {
      if (!Read(values)) return false;
    }
    return true;
  }
  template <typename T>
  void WriteArray(const T* values, size_t count) {
    if constexpr (std::is_arithmetic_v<T>) {
      Write(static_cast<const void*>(values), count * sizeof(T));
    } else {
      for (const T* end = values + count; values != end; ++values) Write(*values);
    }
  }
};

}  // namespace support
}  // namespace tvm

#endif  // TVM_SUPPORT_IO_H_
