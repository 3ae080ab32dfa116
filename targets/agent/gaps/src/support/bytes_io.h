// Streams over bytes in memory.
#ifndef TVM_SUPPORT_BYTES_IO_H_
#define TVM_SUPPORT_BYTES_IO_H_

#include <tvm/ffi/error.h>
#include <tvm/ffi/string.h>
#include <tvm/support/io.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace tvm {
namespace support {

// Reads bytes that somebody else keeps alive.
class BytesInStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  BytesInStream(const void* bytes, size_t count)
      : next_(static_cast<const char*>(bytes)), left_(count) {}
  explicit BytesInStream(const std::string& bytes) : BytesInStream(bytes.data(), bytes.size()) {}
  explicit BytesInStream(const ffi::Bytes& bytes) : BytesInStream(bytes.data(), bytes.size()) {}

  size_t Read(void* bytes, size_t count) override {
    count = std::min(count, left_);
    if (count != 0) std::memcpy(bytes, next_, count);
    next_ += count;
    left_ -= count;
    return count;
  }
  size_t Write(const void*, size_t) override {
    TVM_FFI_THROW(InternalError) << "this stream is only read";
    return 0;
  }

 private:
  const char* next_;
  size_t left_;
};

// Appends to a string that somebody else owns.
class BytesOutStream : public Stream {
 public:
  using Stream::Read;
  using Stream::Write;

  explicit BytesOutStream(std::string* bytes) : bytes_(bytes) {}

  size_t Read(void*, size_t) override {
    TVM_FFI_THROW(InternalError) << "this stream is only written";
    return 0;
  }
  size_t Write(const void* bytes, size_t count) override {
    bytes_->append(static_cast<const char*>(bytes), count);
    return count;
  }

 private:
  std::string* bytes_;
};

}  // namespace support
}  // namespace tvm

#endif  // TVM_SUPPORT_BYTES_IO_H_
