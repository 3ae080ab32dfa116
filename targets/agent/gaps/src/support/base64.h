// TVM keeps tensors inside JSON as base64; a board never reads or writes such a file.
#ifndef TVM_SUPPORT_BASE64_H_
#define TVM_SUPPORT_BASE64_H_

#include <tvm/ffi/error.h>
#include <tvm/support/io.h>

namespace tvm {
namespace support {

class Base64Unavailable : public Stream {
 public:
  explicit Base64Unavailable(Stream*) {
    TVM_FFI_THROW(RuntimeError) << "tensors in JSON are not supported on the board";
  }
  size_t Read(void*, size_t) override { return 0; }
  size_t Write(const void*, size_t) override { return 0; }
  void InitPosition() {}
  void Finish() {}
};

using Base64InStream = Base64Unavailable;
using Base64OutStream = Base64Unavailable;

}  // namespace support
}  // namespace tvm

#endif  // TVM_SUPPORT_BASE64_H_
