#include "turns.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

enum { PLACES = 16 };

/* A place in the queue is an abstract socket's name, which the kernel takes back when its owner ends. */
static int take_place(int number) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "armature-agent-%d", number);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (bind(fd, (struct sockaddr*)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) == 0) return fd;
  close(fd);
  return -1;
}

/* The first place from the back that is behind all who wait. */
static int join(int* fd) {
  int place = PLACES;
  *fd = -1;
  while (place > 0) {
    int better = take_place(place - 1);
    if (better < 0) break;
    if (*fd >= 0) close(*fd);
    *fd = better;
    place--;
  }
  return place;
}

int turns_wait(int (*must_stop)(void)) {
  const struct timespec pause = {.tv_nsec = 200 * 1000 * 1000};
  int fd, told = -1, place = join(&fd);
  if (place == PLACES) {
    log_line("%d agents wait for this board already", PLACES);
    return -1;
  }
  while (place > 0) {
    int better = take_place(place - 1);
    if (better >= 0) {
      close(fd);
      fd = better;
      place--;
      continue;
    }
    if (place != told) log_line("waiting: %d before this agent has the board", place);
    told = place;
    nanosleep(&pause, NULL);
    if (must_stop()) return -1;
  }
  return 0;
}
