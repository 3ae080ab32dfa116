// Bytes waiting to be parsed or sent: first in, first out.
#ifndef TVM_SUPPORT_RING_BUFFER_H_
#define TVM_SUPPORT_RING_BUFFER_H_

#include <tvm/ffi/error.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace tvm {
namespace support {

// One straight piece of memory: what is read moves `begin_`, and making room moves the rest to the front.
class RingBuffer {
 public:
  size_t bytes_available() const { return end_ - begin_; }

  void Reserve(size_t total) {
    if (total > bytes_available()) MakeRoom(total - bytes_available());
  }
  void Read(void* bytes, size_t count) {
    TVM_FFI_ICHECK_LE(count, bytes_available());
    std::memcpy(bytes, memory_.data() + begin_, count);
    Consume(count);
  }
  void Write(const void* bytes, size_t count) {
    MakeRoom(count);
    std::memcpy(memory_.data() + end_, bytes, count);
    end_ += count;
  }
  // Offers what is there to `send(bytes, count)`, which returns how many it took.
  template <typename Send>
  size_t ReadWithCallback(Send send, size_t limit) {
    size_t taken = send(memory_.data() + begin_, std::min(limit, bytes_available()));
    Consume(taken);
    return taken;
  }
  // Lets `receive(bytes, room)` fill in up to `limit` bytes; it returns how many it wrote.
  template <typename Receive>
  size_t WriteWithCallback(Receive receive, size_t limit) {
    MakeRoom(limit);
    size_t got = receive(memory_.data() + end_, limit);
    end_ += got;
    return got;
  }

 private:
  static constexpr size_t kKept = 1 << 20;  // bytes of memory kept while nothing waits

  void Consume(size_t count) {
    begin_ += count;
    if (begin_ != end_) return;
    begin_ = end_ = 0;
    if (memory_.size() > kKept) std::vector<char>().swap(memory_);
  }
  void MakeRoom(size_t count) {
    if (end_ + count <= memory_.size()) return;
    std::memmove(memory_.data(), memory_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    if (end_ + count > memory_.size()) memory_.resize(std::max(2 * memory_.size(), end_ + count));
  }

  std::vector<char> memory_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace support
}  // namespace tvm

#endif  // TVM_SUPPORT_RING_BUFFER_H_
