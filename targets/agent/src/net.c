#include "net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "agent.h"

int net_parse(const char* text, char* host, size_t size, int* port) {
  const char* colon = strrchr(text, ':');
  if (colon == NULL || colon == text) return -1;
  size_t length = (size_t)(colon - text);
  if (text[0] == '[' && colon[-1] == ']') {
    text++;
    length -= 2;
  }
  char* end;
  long number = strtol(colon + 1, &end, 10);
  if (end == colon + 1 || *end != '\0' || number < 1 || number > 65535 || length == 0 || length >= size) return -1;
  memcpy(host, text, length);
  host[length] = '\0';
  *port = (int)number;
  return 0;
}

static struct addrinfo* resolve(const char* host, int port, int flags) {
  char service[8];
  snprintf(service, sizeof service, "%d", port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
  struct addrinfo* found = NULL;
  if (getaddrinfo(host, service, &hints, &found) == 0) return found;
  errno = EADDRNOTAVAIL;
  return NULL;
}

static int bound_port(int fd) {
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (getsockname(fd, (struct sockaddr*)&address, &size) != 0) return -1;
  if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6*)&address)->sin6_port);
  return ntohs(((struct sockaddr_in*)&address)->sin_port);
}

static int close_failed(int fd) {
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int net_listen(const char* host, int* port) {
  struct addrinfo* address = resolve(host, *port, AI_PASSIVE);
  if (address == NULL) return -1;
  int one = 1;
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  int failed = fd < 0 || bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 64) != 0;
  freeaddrinfo(address);
  if (failed) return fd < 0 ? -1 : close_failed(fd);
  *port = bound_port(fd);
  return fd;
}

int net_time_out(int fd, int seconds) {
  struct timeval limit = {.tv_sec = seconds};
  int failed = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return failed | setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

int net_connect(const char* host, int port, int seconds) {
  struct addrinfo* address = resolve(host, port, 0);
  if (address == NULL) return -1;
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int failed = fd < 0 || net_time_out(fd, seconds) != 0 || connect(fd, address->ai_addr, address->ai_addrlen) != 0;
  freeaddrinfo(address);
  if (failed) return fd < 0 ? -1 : close_failed(fd);
  return fd;
}

void net_keep_alive(int fd) {
  int one = 1, idle = 10, interval = 5, count = 4, unheard = 30 * 1000; /* seconds, seconds, probes; ms */
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard, sizeof unheard);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int net_is_on_loopback(int fd) {
  struct sockaddr_storage address;
  socklen_t size = sizeof address;
  if (getsockname(fd, (struct sockaddr*)&address, &size) != 0) return 0;
  if (address.ss_family == AF_INET) return ntohl(((struct sockaddr_in*)&address)->sin_addr.s_addr) >> 24 == 127;
  return address.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6*)&address)->sin6_addr);
}

int net_read(int fd, void* bytes, size_t count) {
  char* next = bytes;
  while (count > 0) {
    ssize_t got = recv(fd, next, count, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = ECONNRESET;
    if (got <= 0) return -1;
    next += got;
    count -= (size_t)got;
  }
  return 0;
}

int net_write(int fd, const void* bytes, size_t count) {
  const char* next = bytes;
  while (count > 0) {
    ssize_t sent = send(fd, next, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return -1;
    next += sent;
    count -= (size_t)sent;
  }
  return 0;
}

void net_drain(int fd, double seconds) {
  const double end = seconds_now() + seconds;
  struct pollfd input = {fd, POLLIN, 0};
  char dropped[4096];
  shutdown(fd, SHUT_WR);
  while (seconds_now() < end && poll(&input, 1, 300) > 0 && recv(fd, dropped, sizeof dropped, MSG_DONTWAIT) > 0) continue;
}

int net_read_int(int fd, int32_t* value) { return net_read(fd, value, sizeof *value); }

int net_write_int(int fd, int32_t value) { return net_write(fd, &value, sizeof value); }
