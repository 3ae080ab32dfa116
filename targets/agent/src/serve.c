/* `serve`: a TVM RPC server (the protocol of tvm/rpc/server.py), one client after the other. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "lifeline.h"
#include "lobby.h"
#include "net.h"
#include "options.h"
#include "session.h"
#include "status.h"
#include "turns.h"

enum { TRACKER_RETRY_SECONDS = 5, PING_SECONDS = 2, DISK_MIB = 2048 };

typedef struct {
  Options options;
  Token token;
  Lobby lobby;
  sigset_t wait_mask;
  Status status;
} Server;

/* The session's limit in seconds: the client's (`-timeout=` in its key) or ours, whichever is shorter. */
static double session_limit(const char* client_options, double ours) {
  const char* option = client_options == NULL ? NULL : strstr(client_options, "-timeout=");
  double asked = option == NULL ? 0 : strtod(option + strlen("-timeout="), NULL);
  if (!(asked > 0)) return ours;
  return ours > 0 && ours < asked ? ours : asked;
}

/* Answers a client of TVM's RPC; -1 unless it asks for us by the right key. */
static int shake_hands(const Visitor* visitor, const Options* options, double* seconds) {
  char text[MAX_KEY + 1], wanted[128], answer[80];
  const Tracker* tracker = &options->tracker;
  memcpy(text, visitor->bytes, sizeof text);
  snprintf(wanted, sizeof wanted, "client:%s", tracker->fd >= 0 ? tracker->match_key : tracker->key);
  char* rest = text;
  if (strcmp(strsep(&rest, " "), wanted) != 0) {
    log_line("refused %s: it asked for another key than '%s'", visitor->from, wanted);
    net_write_int(visitor->fd, RPC_MISMATCH);
    return -1;
  }
  *seconds = session_limit(rest, options->session_seconds);
  snprintf(answer, sizeof answer, "server:%s", tracker->key);
  int32_t answer_length = (int32_t)strlen(answer);
  if (net_write_int(visitor->fd, RPC_MAGIC) != 0 || net_write_int(visitor->fd, answer_length) != 0) return -1;
  return net_write(visitor->fd, answer, (size_t)answer_length);
}

static void wait_beside_session(void* server, struct pollfd* client, int milliseconds) {
  Server* self = server;
  lobby_wait(&self->lobby, client, milliseconds, &self->wait_mask);
  if (self->lobby.is_drained) tracker_close(&self->options.tracker);
}

static void describe(void* server, char* text, size_t size) {
  Server* self = server;
  self->status.is_drained = self->lobby.is_drained;
  self->status.waiting = lobby_waiting(&self->lobby);
  status_write(&self->status, text, size);
}

/* What is the agent's, and not the client's code's. */
static void forget(void* server) {
  Server* self = server;
  lobby_close(&self->lobby);
  tracker_close(&self->options.tracker);
}

/* Serves who is next; 1 when there was a session. */
static int serve_next(Server* server) {
  const Options* options = &server->options;
  Visitor* visitor = lobby_next(&server->lobby);
  if (visitor == NULL) return 0;
  Session session = {.socket = visitor->fd,
                     .memory_kib = options->memory_kib,
                     .disk_kib = options->disk_kib,
                     .work_dir = options->work_dir,
                     .server = server,
                     .wait = wait_beside_session,
                     .forget = forget,
                     .interrupted = lifeline_is_cut,
                     .last_error = server->status.last_error};
  int is_client = shake_hands(visitor, options, &session.seconds) == 0;
  visitor->fd = -1;
  if (!is_client) {
    close(session.socket);
    return 0;
  }
  server->lobby.is_busy = 1;
  status_begin(&server->status, visitor->from);
  session_serve(&session);
  status_end(&server->status);
  server->lobby.is_busy = 0;
  return 1;
}

static void serve_until_stopped(Server* server) {
  Tracker* tracker = &server->options.tracker;
  double retry = 0, ping = 0;
  int offered = 0;
  while (!lifeline_is_cut() && !server->lobby.is_drained) {
    double now = seconds_now();
    if (tracker->fd < 0 && now >= retry) {
      tracker_register(tracker);
      retry = now + TRACKER_RETRY_SECONDS;
      offered = 0;
    }
    if (!offered && tracker->fd >= 0) {
      offered = tracker_offer(tracker) == 0;
      ping = now + PING_SECONDS;
    }
    if (tracker->fd >= 0 && now >= ping) {
      tracker_ping(tracker);
      ping = now + PING_SECONDS;
    }
    if (serve_next(server)) {
      offered = 0;
    } else {
      lobby_wait(&server->lobby, NULL, 500, &server->wait_mask);
    }
  }
}

/* Makes the folder for sessions; *ours when it was not there, and is to be removed at the end. */
static int make_work_dir(char* work_dir, int* ours) {
  if (work_dir[0] == '\0') {
    const char* temporary = getenv("TMPDIR");
    snprintf(work_dir, PATH_MAX, "%s/armature-XXXXXX", temporary != NULL ? temporary : "/tmp");
    *ours = mkdtemp(work_dir) != NULL;
    if (!*ours) log_line("%s: %s", work_dir, strerror(errno));
    return *ours ? 0 : -1;
  }
  *ours = mkdir(work_dir, 0700) == 0;
  char* absolute = realpath(work_dir, NULL);
  if (absolute == NULL) {
    log_line("%s: %s", work_dir, strerror(errno));
    return -1;
  }
  snprintf(work_dir, PATH_MAX, "%s", absolute);
  free(absolute);
  return 0;
}

/* A socket, where one may listen there: whoever reaches an address other than loopback must have the token. */
static int open_door(Options* options, const Token* token) {
  int listener = net_listen(options->host, &options->port);
  if (listener < 0) {
    log_line("cannot listen on %s:%d: %s", options->host, options->port, strerror(errno));
  } else if (token->length == 0 && !net_is_on_loopback(listener)) {
    log_line("--host %s needs a token (--token-file, see serve --help): a client may run any code here", options->host);
    close(listener);
    listener = -1;
  }
  return listener;
}

static int serve(Server* server) {
  Options* options = &server->options;
  int ours = 0;
  lifeline_hold(options->expected_parent, options->with_stdin, &server->wait_mask);
  if (options->takes_turns && turns_wait(lifeline_is_cut) != 0) return EXIT_FAILED;
  int listener = open_door(options, &server->token);
  if (listener < 0 || make_work_dir(options->work_dir, &ours) != 0) return EXIT_FAILED;
  lobby_open(&server->lobby, listener, &server->token);
  server->lobby.server = server;
  server->lobby.describe = describe;
  if (server->token.length > 0) log_line("clients must have the token");
  options->tracker.listen_port = options->port;
  printf("listening on %s:%d\n", options->host, options->port);
  fflush(stdout);
  serve_until_stopped(server);
  tracker_close(&options->tracker);
  lobby_close(&server->lobby);
  if (ours) remove_tree(options->work_dir);
  return EXIT_DONE;
}

int serve_main(int argc, char** argv) {
  static Server server;
  long all_kib = sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 1024);
  server.options = (Options){.host = "127.0.0.1", .memory_kib = all_kib / 4 * 3, .disk_kib = DISK_MIB * 1024L};
  server.options.tracker.fd = -1;
  int parsed = options_parse(argc, argv, &server.options);
  if (parsed != 0) return parsed > 0 ? EXIT_DONE : EXIT_USAGE;
  const char* file = server.options.token_file;
  int found = server.options.with_stdin ? token_read_line(STDIN_FILENO, &server.token) : token_find(file, &server.token);
  return found == 0 ? serve(&server) : EXIT_USAGE;
}
