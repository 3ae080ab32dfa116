/* `serve`: a TVM RPC server (the protocol of tvm/rpc/server.py), one client after the other. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "net.h"
#include "session.h"
#include "tracker.h"

/* tvm/rpc/base.py: RPC_MAGIC and RPC_CODE_MISMATCH. */
enum { RPC_MAGIC = 0xFF271, RPC_MISMATCH = RPC_MAGIC + 2, MAX_KEY = 1024 };
enum { HANDSHAKE_SECONDS = 3, TRACKER_RETRY_SECONDS = 5, PING_SECONDS = 2 };

static const char kHelp[] =
    "usage: run serve [--host ADDRESS] [--port N] [--tracker HOST:PORT --key KEY]\n"
    "                 [--session-timeout SECONDS] [--memory-limit MIB] [--work-dir DIR]\n"
    "                 [--exit-with-parent PID]\n"
    "\n"
    "Serves TVM RPC, one client at a time, and prints `listening on HOST:PORT` when ready.\n"
    "TVM RPC has no authentication: whoever reaches the port runs code on this board.\n"
    "\n"
    "  --host ADDRESS             where to listen (default 127.0.0.1: this machine only)\n"
    "  --port N                   0, the default, takes any free port\n"
    "  --tracker HOST:PORT        offer this board there; needs --key\n"
    "  --key KEY                  the kind of board, as clients ask for it\n"
    "  --session-timeout SECONDS  the longest a client may stay (default: as long as it likes)\n"
    "  --memory-limit MIB         the most a client's library may have (default: 3/4 of the memory; 0: no limit)\n"
    "  --work-dir DIR             where sessions keep their files (default: a new folder in $TMPDIR or /tmp)\n"
    "  --exit-with-parent PID     end when the process PID is no longer this one's parent\n";

typedef struct {
  const char* host;
  int port;
  double session_seconds;
  long memory_kib;
  char work_dir[PATH_MAX];
  Tracker tracker;
  int help;
} Options;

static volatile sig_atomic_t stop_asked;
static pid_t expected_parent; /* 0: any */

static void on_signal(int number) {
  if (number != SIGCHLD) stop_asked = 1;
}

static int must_stop(void) { return stop_asked || (expected_parent != 0 && getppid() != expected_parent); }

/* Signals come only while we wait for something, so that none is lost between a check and a wait. */
static void catch_signals(sigset_t* wait_mask) {
  struct sigaction action = {.sa_handler = on_signal};
  const int caught[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
  sigset_t blocked;
  sigemptyset(&blocked);
  for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
    sigaction(caught[i], &action, NULL);
    sigaddset(&blocked, caught[i]);
  }
  signal(SIGPIPE, SIG_IGN);
  sigprocmask(SIG_BLOCK, &blocked, NULL);
  sigemptyset(wait_mask);
}

static int parse_number(const char* name, const char* text, double least, double most, double* number) {
  char* end;
  *number = strtod(text, &end);
  if (end != text && *end == '\0' && *number >= least && *number <= most) return 0;
  log_line("%s wants a number from %g to %g, not '%s'", name, least, most, text);
  return -1;
}

/* A key goes into JSON and into the space-separated handshake: no surprises in it. */
static int parse_key(const char* text, Tracker* tracker) {
  const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  size_t length = strlen(text);
  if (length > 0 && length < sizeof tracker->key && strspn(text, allowed) == length) {
    memcpy(tracker->key, text, length + 1);
    return 0;
  }
  log_line("--key wants up to %zu letters, digits, '.', '_' or '-', not '%s'", sizeof tracker->key - 1, text);
  return -1;
}

static int parse_option(int letter, Options* options) {
  double number = 0;
  int failed = 0;
  if (letter == 'h') {
    options->host = optarg;
  } else if (letter == 'p') {
    failed = parse_number("--port", optarg, 0, 65535, &number);
    options->port = (int)number;
  } else if (letter == 't') {
    failed = net_parse(optarg, options->tracker.host, sizeof options->tracker.host, &options->tracker.port);
    if (failed) log_line("--tracker wants HOST:PORT, not '%s'", optarg);
  } else if (letter == 'k') {
    failed = parse_key(optarg, &options->tracker);
  } else if (letter == 's') {
    failed = parse_number("--session-timeout", optarg, 0, 1e6, &options->session_seconds);
  } else if (letter == 'm') {
    failed = parse_number("--memory-limit", optarg, 0, 1e9, &number);
    options->memory_kib = (long)(number * 1024);
  } else if (letter == 'w') {
    failed = snprintf(options->work_dir, PATH_MAX, "%s", optarg) >= PATH_MAX;
  } else if (letter == 'e') {
    failed = parse_number("--exit-with-parent", optarg, 1, INT_MAX, &number);
    expected_parent = (pid_t)number;
  } else if (letter == 'H') {
    options->help = 1;
  } else {
    failed = 1;
  }
  return failed;
}

static int parse_options(int argc, char** argv, Options* options) {
  static const struct option kLong[] = {
      {"host", required_argument, NULL, 'h'},     {"port", required_argument, NULL, 'p'},
      {"tracker", required_argument, NULL, 't'},  {"key", required_argument, NULL, 'k'},
      {"work-dir", required_argument, NULL, 'w'}, {"session-timeout", required_argument, NULL, 's'},
      {"help", no_argument, NULL, 'H'},           {"exit-with-parent", required_argument, NULL, 'e'},
      {"memory-limit", required_argument, NULL, 'm'},
      {NULL, 0, NULL, 0}};
  int letter;
  while ((letter = getopt_long(argc, argv, "", kLong, NULL)) != -1) {
    if (parse_option(letter, options) != 0) return -1;
  }
  if (optind < argc) {
    log_line("unexpected argument '%s'; see serve --help", argv[optind]);
    return -1;
  }
  if (options->tracker.port == 0 || options->tracker.key[0] != '\0') return 0;
  log_line("--tracker needs --key");
  return -1;
}

/* The session's limit in seconds: the client's (`-timeout=` in its key) or ours, whichever is shorter. */
static double session_limit(const char* client_options, double ours) {
  const char* option = client_options == NULL ? NULL : strstr(client_options, "-timeout=");
  double asked = option == NULL ? 0 : strtod(option + strlen("-timeout="), NULL);
  if (!(asked > 0)) return ours;
  return ours > 0 && ours < asked ? ours : asked;
}

/* Whether this is a client of TVM's RPC that asks for us by the right key. */
static int shake_hands(int fd, const Options* options, double* seconds) {
  int32_t magic = 0, length = 0;
  char text[MAX_KEY + 1], wanted[128], answer[80];
  if (net_time_out(fd, HANDSHAKE_SECONDS) != 0 || net_read_int(fd, &magic) != 0) return -1;
  if (magic != RPC_MAGIC || net_read_int(fd, &length) != 0 || length < 0 || length > MAX_KEY) {
    log_line("refused a connection that is not TVM RPC");
    return -1;
  }
  if (net_read(fd, text, (size_t)length) != 0) return -1;
  text[length] = '\0';
  const Tracker* tracker = &options->tracker;
  snprintf(wanted, sizeof wanted, "client:%s", tracker->fd >= 0 ? tracker->match_key : tracker->key);
  char* rest = text;
  if (strcmp(strsep(&rest, " "), wanted) != 0) {
    log_line("refused a client that asked for another key than '%s'", wanted);
    net_write_int(fd, RPC_MISMATCH);
    return -1;
  }
  *seconds = session_limit(rest, options->session_seconds);
  snprintf(answer, sizeof answer, "server:%s", tracker->key);
  int32_t answer_length = (int32_t)strlen(answer);
  if (net_write_int(fd, RPC_MAGIC) != 0 || net_write_int(fd, answer_length) != 0) return -1;
  return net_write(fd, answer, (size_t)answer_length) | net_time_out(fd, 0);
}

/* Takes the next connection; 1 when it was a client and has been served. */
static int serve_one(int listener, const Options* options, const sigset_t* wait_mask) {
  int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (client < 0) return 0;
  Session session = {client, 0, options->memory_kib, options->work_dir, wait_mask, must_stop};
  if (shake_hands(client, options, &session.seconds) != 0) {
    close(client);
    return 0;
  }
  net_keep_alive(client);
  session_serve(&session);
  return 1;
}

/* Waits for a client; 1 when there is one, 0 when the time is up or a signal came. */
static int wait_for_client(int listener, const sigset_t* wait_mask) {
  struct pollfd poller = {.fd = listener, .events = POLLIN};
  const struct timespec pause = {.tv_nsec = 500 * 1000 * 1000};
  return ppoll(&poller, 1, &pause, wait_mask) > 0;
}

static void serve_until_stopped(int listener, Options* options, const sigset_t* wait_mask) {
  int rounds = 0, offered = 0; /* rounds of half a second */
  while (!must_stop()) {
    if (options->tracker.fd < 0 && rounds % (2 * TRACKER_RETRY_SECONDS) == 0) {
      tracker_register(&options->tracker);
      offered = 0;
    }
    if (!offered && options->tracker.fd >= 0) offered = tracker_offer(&options->tracker) == 0;
    rounds++;
    if (wait_for_client(listener, wait_mask)) {
      if (serve_one(listener, options, wait_mask)) offered = 0;
    } else if (options->tracker.fd >= 0 && rounds % (2 * PING_SECONDS) == 0) {
      tracker_ping(&options->tracker);
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

static int serve(Options* options) {
  sigset_t wait_mask;
  int ours = 0;
  int listener = net_listen(options->host, &options->port);
  if (listener < 0) {
    log_line("cannot listen on %s:%d: %s", options->host, options->port, strerror(errno));
    return EXIT_FAILED;
  }
  if (make_work_dir(options->work_dir, &ours) != 0) return EXIT_FAILED;
  if (!net_is_loopback(options->host)) {
    log_line("warning: TVM RPC has no authentication; whoever reaches %s:%d runs code here", options->host, options->port);
  }
  catch_signals(&wait_mask);
  options->tracker.listen_port = options->port;
  printf("listening on %s:%d\n", options->host, options->port);
  fflush(stdout);
  serve_until_stopped(listener, options, &wait_mask);
  tracker_close(&options->tracker);
  close(listener);
  if (ours) remove_tree(options->work_dir);
  return EXIT_DONE;
}

int serve_main(int argc, char** argv) {
  long all_kib = sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 1024);
  Options options = {.host = "127.0.0.1", .memory_kib = all_kib / 4 * 3, .tracker.fd = -1};
  if (parse_options(argc, argv, &options) != 0) return EXIT_USAGE;
  if (options.help) {
    fputs(kHelp, stdout);
    return EXIT_DONE;
  }
  return serve(&options);
}
