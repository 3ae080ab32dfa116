// Typed values as bytes: scalars as they lie in memory (little-endian), containers as a 64-bit count
// followed by their elements, maps as pairs.
#ifndef TVM_SUPPORT_SERIALIZER_H_
#define TVM_SUPPORT_SERIALIZER_H_

#include <dlpack/dlpack.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/string.h>
#include <tvm/support/io.h>

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tvm {
namespace support {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

template <typename T>
struct Serializer<T, std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>>> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const T& value) {
    out->Write(static_cast<const void*>(&value), sizeof(T));
  }
  static bool Read(Stream* in, T* value) {
    return in->Read(static_cast<void*>(value), sizeof(T)) == sizeof(T);
  }
};

template <>
struct Serializer<DLDataType> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const DLDataType& type) {
    out->Write(type.code);
    out->Write(type.bits);
    out->Write(type.lanes);
  }
  static bool Read(Stream* in, DLDataType* type) {
    return in->Read(&type->code) && in->Read(&type->bits) && in->Read(&type->lanes);
  }
};

template <>
struct Serializer<DLDevice> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const DLDevice& device) {
    out->Write(static_cast<int32_t>(device.device_type));
    out->Write(device.device_id);
  }
  static bool Read(Stream* in, DLDevice* device) {
    int32_t type = 0;
    if (!in->Read(&type) || !in->Read(&device->device_id)) return false;
    device->device_type = static_cast<DLDeviceType>(type);
    return true;
  }
};

template <>
struct Serializer<std::string> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const std::string& text) {
    out->Write(static_cast<uint64_t>(text.size()));
    out->WriteArray(text.data(), text.size());
  }
  static bool Read(Stream* in, std::string* text) {
    uint64_t size = 0;
    if (!in->Read(&size)) return false;
    text->resize(size);
    return in->ReadArray(text->data(), size);
  }
};

template <>
struct Serializer<ffi::String> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const ffi::String& text) {
    out->Write(static_cast<uint64_t>(text.size()));
    out->WriteArray(text.data(), text.size());
  }
  static bool Read(Stream* in, ffi::String* text) {
    std::string read;
    if (!in->Read(&read)) return false;
    *text = ffi::String(std::move(read));
    return true;
  }
};

template <typename A, typename B>
struct Serializer<std::pair<A, B>> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const std::pair<A, B>& pair) {
    out->Write(pair.first);
    out->Write(pair.second);
  }
  static bool Read(Stream* in, std::pair<A, B>* pair) {
    return in->Read(&pair->first) && in->Read(&pair->second);
  }
};

template <typename T>
struct Serializer<std::vector<T>> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const std::vector<T>& values) {
    out->Write(static_cast<uint64_t>(values.size()));
    out->WriteArray(values.data(), values.size());
  }
  static bool Read(Stream* in, std::vector<T>* values) {
    uint64_t size = 0;
    if (!in->Read(&size)) return false;
    values->resize(size);
    return in->ReadArray(values->data(), size);
  }
};

template <typename T>
struct Serializer<ffi::Array<T>> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const ffi::Array<T>& values) {
    out->Write(std::vector<T>(values.begin(), values.end()));
  }
  static bool Read(Stream* in, ffi::Array<T>* values) {
    std::vector<T> read;
    if (!in->Read(&read)) return false;
    *values = ffi::Array<T>(read.begin(), read.end());
    return true;
  }
};

template <typename K, typename V>
struct Serializer<std::unordered_map<K, V>> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const std::unordered_map<K, V>& map) {
    out->Write(std::vector<std::pair<K, V>>(map.begin(), map.end()));
  }
  static bool Read(Stream* in, std::unordered_map<K, V>* map) {
    std::vector<std::pair<K, V>> pairs;
    if (!in->Read(&pairs)) return false;
    *map = std::unordered_map<K, V>(pairs.begin(), pairs.end());
    return true;
  }
};

template <typename K, typename V>
struct Serializer<ffi::Map<K, V>> {
  static constexpr bool enabled = true;
  static void Write(Stream* out, const ffi::Map<K, V>& map) {
    out->Write(static_cast<uint64_t>(map.size()));
    for (const auto& [key, value] : map) {
      out->Write(key);
      out->Write(value);
    }
  }
  static bool Read(Stream* in, ffi::Map<K, V>* map) {
    std::vector<std::pair<K, V>> pairs;
    if (!in->Read(&pairs)) return false;
    *map = ffi::Map<K, V>();
    for (auto& [key, value] : pairs) map->Set(std::move(key), std::move(value));
    return true;
  }
};

}  // namespace support
}  // namespace tvm

#endif  // TVM_SUPPORT_SERIALIZER_H_
