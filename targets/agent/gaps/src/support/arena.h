// Memory for the arguments of one call, given back all at once.
#ifndef TVM_SUPPORT_ARENA_H_
#define TVM_SUPPORT_ARENA_H_

#include <cstddef>
#include <memory>
#include <type_traits>
#include <vector>

namespace tvm {
namespace support {

class Arena {
 public:
  template <typename T>
  T* allocate_(int count) {
    static_assert(std::is_trivially_destructible_v<T>, "nothing is destroyed");
    static_assert(alignof(T) <= alignof(std::max_align_t), "blocks are aligned as new aligns them");
    blocks_.push_back(std::make_unique<char[]>(sizeof(T) * count));
    return reinterpret_cast<T*>(blocks_.back().get());
  }
  void RecycleAll() { blocks_.clear(); }

 private:
  std::vector<std::unique_ptr<char[]>> blocks_;
};

}  // namespace support
}  // namespace tvm

#endif  // TVM_SUPPORT_ARENA_H_
