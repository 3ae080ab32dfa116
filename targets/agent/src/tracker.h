/* A board's place in a TVM RPC tracker (tvm/rpc/tracker.py): it tells the tracker where it listens and the
 * key by which the next client will be known. */
#ifndef ARMATURE_TRACKER_H_
#define ARMATURE_TRACKER_H_

#include <stddef.h>

typedef struct {
  char host[256], key[64];
  int port;        /* the tracker's; 0: there is no tracker */
  int listen_port; /* ours */
  int fd;          /* -1: not connected */
  char match_key[96];
  int unclaimed_pings; /* pings in a row in which our match key was taken but nobody came */
} Tracker;

/* Connects and registers if need be. -1: unreachable; the next call tries again. */
int tracker_register(Tracker* tracker);

/* Offers the board to the next client under a new match key. */
int tracker_offer(Tracker* tracker);

/* To be called about every two seconds while waiting: offers again when a client took the board and did
 * not come. -1: the tracker is lost; register again. */
int tracker_ping(Tracker* tracker);

void tracker_close(Tracker* tracker);

#endif
