// A connected TCP socket. The board only serves: it is handed its sockets and never connects to a server.
#ifndef TVM_SUPPORT_SOCKET_H_
#define TVM_SUPPORT_SOCKET_H_

#include <sys/socket.h>
#include <sys/types.h>
#include <tvm/ffi/error.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace tvm {
namespace support {

struct SockAddr {
  SockAddr(const char* host, int port) : text(std::string(host) + ":" + std::to_string(port)) {}
  int ss_family() const { return AF_INET; }
  const std::string& AsString() const { return text; }
  std::string text;
};

class Socket {
 public:
  static void Error(const char* what) {
    TVM_FFI_THROW(RuntimeError) << what << ": " << std::strerror(errno);
  }
};

class TCPSocket : public Socket {
 public:
  using SockType = int;

  TCPSocket() = default;
  explicit TCPSocket(int fd) : fd_(fd) {}

  bool BadSocket() const { return fd_ < 0; }
  void Close() {
    close(fd_);
    fd_ = -1;
  }
  void Create(int) {}
  bool Connect(const SockAddr&) { return false; }

  ssize_t Send(const void* bytes, size_t count) {
    ssize_t sent;
    do {
      sent = send(fd_, bytes, count, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
  }
  ssize_t Recv(void* bytes, size_t count) {
    ssize_t got;
    do {
      got = recv(fd_, bytes, count, 0);
    } while (got < 0 && errno == EINTR);
    return got;
  }
  size_t SendAll(const void* bytes, size_t count) {
    size_t done = 0;
    while (done < count) {
      ssize_t sent = Send(static_cast<const char*>(bytes) + done, count - done);
      if (sent <= 0) break;
      done += sent;
    }
    return done;
  }
  size_t RecvAll(void* bytes, size_t count) {
    size_t done = 0;
    while (done < count) {
      ssize_t got = Recv(static_cast<char*>(bytes) + done, count - done);
      if (got <= 0) break;
      done += got;
    }
    return done;
  }

 private:
  int fd_ = -1;
};

}  // namespace support
}  // namespace tvm

#endif  // TVM_SUPPORT_SOCKET_H_
