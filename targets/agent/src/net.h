/* TCP with time-outs. Functions give -1 and set errno when they fail. */
#ifndef ARMATURE_NET_H_
#define ARMATURE_NET_H_

#include <stddef.h>
#include <stdint.h>

/* HOST:PORT, [HOST]:PORT for IPv6; 0 when understood. */
int net_parse(const char* text, char* host, size_t size, int* port);

/* A listening socket on the host's address, which never blocks; *port 0 means any, and becomes the one taken. */
int net_listen(const char* host, int* port);

/* A connected socket whose reads and writes give up after `seconds` (0: never). */
int net_connect(const char* host, int port, int seconds);
int net_time_out(int fd, int seconds);

/* Lets the kernel find out within about half a minute that the other end is gone. */
void net_keep_alive(int fd);

/* Whether a listening socket is for this machine alone. */
int net_is_on_loopback(int fd);

/* Whole buffers; a peer that closes is an error (ECONNRESET). */
int net_read(int fd, void* bytes, size_t count);
int net_write(int fd, const void* bytes, size_t count);
/* Nothing is sent any more; what still comes is dropped, until the other end is silent or `seconds` are over: to close
 * with bytes unread would take back what was sent last. */
void net_drain(int fd, double seconds);

int net_read_int(int fd, int32_t* value);
int net_write_int(int fd, int32_t value);

#endif
