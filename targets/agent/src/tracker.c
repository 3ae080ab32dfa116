#include "tracker.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent.h"
#include "net.h"

/* tvm/rpc/base.py: RPC_TRACKER_MAGIC and TrackerCode. */
enum { TRACKER_MAGIC = 0x2F271, CODE_PUT = 3, CODE_UPDATE_INFO = 5, CODE_GET_PENDING_MATCHKEYS = 7 };
enum { TIME_OUT = 5 /* seconds */, MAX_REPLY = 64 * 1024, MAX_UNCLAIMED = 3 /* pings, as TVM's server */ };

static int lost(Tracker* tracker) {
  log_line("tracker %s:%d: %s", tracker->host, tracker->port, strerror(errno));
  tracker_close(tracker);
  return -1;
}

/* Sends one JSON message and reads the reply, cut to fit. */
static int ask(Tracker* tracker, const char* message, char* reply, size_t size) {
  int32_t length = (int32_t)strlen(message);
  if (net_write_int(tracker->fd, length) != 0 || net_write(tracker->fd, message, (size_t)length) != 0) return -1;
  if (net_read_int(tracker->fd, &length) != 0) return -1;
  errno = EPROTO;
  if (length < 1 || (size_t)length >= size) return -1;
  reply[length] = '\0';
  return net_read(tracker->fd, reply, (size_t)length);
}

static int expect_success(Tracker* tracker, const char* message) {
  char reply[64];
  if (ask(tracker, message, reply, sizeof reply) != 0) return -1;
  errno = EPROTO;
  return strcmp(reply, "0") == 0 ? 0 : -1;
}

static int introduce(Tracker* tracker) {
  int32_t magic = 0;
  if (net_write_int(tracker->fd, TRACKER_MAGIC) != 0 || net_read_int(tracker->fd, &magic) != 0) return -1;
  errno = EPROTO;
  if (magic != TRACKER_MAGIC) return -1;
  char message[256];
  snprintf(message, sizeof message, "[%d, {\"key\": \"server:%s\", \"addr\": [null, %d]}]", CODE_UPDATE_INFO,
           tracker->key, tracker->listen_port);
  return expect_success(tracker, message);
}

int tracker_register(Tracker* tracker) {
  if (tracker->port == 0 || tracker->fd >= 0) return 0;
  tracker->fd = net_connect(tracker->host, tracker->port, TIME_OUT);
  if (tracker->fd < 0 || introduce(tracker) != 0) return lost(tracker);
  log_line("registered at tracker %s:%d as '%s'", tracker->host, tracker->port, tracker->key);
  return 0;
}

int tracker_offer(Tracker* tracker) {
  if (tracker->fd < 0) return 0;
  uint64_t number;
  if (getrandom(&number, sizeof number, 0) != sizeof number) return lost(tracker);
  snprintf(tracker->match_key, sizeof tracker->match_key, "%s:%016llx", tracker->key, (unsigned long long)number);
  tracker->unclaimed_pings = 0;
  char message[256];
  snprintf(message, sizeof message, "[%d, \"%s\", [%d, \"%s\"], null]", CODE_PUT, tracker->key,
           tracker->listen_port, tracker->match_key);
  return expect_success(tracker, message) == 0 ? 0 : lost(tracker);
}

int tracker_ping(Tracker* tracker) {
  static char reply[MAX_REPLY];
  char message[16];
  snprintf(message, sizeof message, "[%d]", CODE_GET_PENDING_MATCHKEYS);
  if (ask(tracker, message, reply, sizeof reply) != 0) return lost(tracker);
  tracker->unclaimed_pings = strstr(reply, tracker->match_key) != NULL ? 0 : tracker->unclaimed_pings + 1;
  return tracker->unclaimed_pings > MAX_UNCLAIMED ? tracker_offer(tracker) : 0;
}

void tracker_close(Tracker* tracker) {
  if (tracker->fd >= 0) close(tracker->fd);
  tracker->fd = -1;
}
