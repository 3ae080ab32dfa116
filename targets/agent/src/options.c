#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "net.h"

static const char kHelp[] =
    "usage: run serve [--host ADDRESS] [--port N] [--token-file FILE] [--tracker HOST:PORT --key KEY]\n"
    "                 [--session-timeout SECONDS] [--memory-limit MIB] [--disk-limit MIB] [--work-dir DIR]\n"
    "                 [--take-turns] [--with-stdin] [--exit-with-parent PID]\n"
    "\n"
    "Serves TVM RPC, one client at a time, and prints `listening on HOST:PORT` when ready.\n"
    "A client may run any code on this board, so other addresses than loopback need a token, which both sides\n"
    "have: 32 characters or more, in a file that only you may read, or in ARMATURE_TOKEN.\n"
    "What is sent is not encrypted: across networks you do not trust, use --device ssh://USER@BOARD instead.\n"
    "\n"
    "  --host ADDRESS             where to listen (default 127.0.0.1: this machine only)\n"
    "  --port N                   0, the default, takes any free port\n"
    "  --token-file FILE          holds the token (default: ARMATURE_TOKEN, then the file of ARMATURE_TOKEN_FILE)\n"
    "  --tracker HOST:PORT        offer this board there; needs --key\n"
    "  --key KEY                  the kind of board, as clients ask for it\n"
    "  --session-timeout SECONDS  the longest a client may stay (default: as long as it likes)\n"
    "  --memory-limit MIB         the most a client's library may have (default: 3/4 of the memory; 0: no limit)\n"
    "  --disk-limit MIB           the most a client may store (default: 2048; 0: no limit)\n"
    "  --work-dir DIR             where sessions keep their files (default: a new folder in $TMPDIR or /tmp)\n"
    "  --take-turns               wait until no other agent with this option runs on the board\n"
    "  --with-stdin               the token is the first line of standard input; end when that ends or is silent for\n"
    "                             30 s\n"
    "  --exit-with-parent PID     end when the process PID is no longer this one's parent\n";

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
  } else if (letter == 'd') {
    failed = parse_number("--disk-limit", optarg, 0, 1e9, &number);
    options->disk_kib = (long)(number * 1024);
  } else if (letter == 'T') {
    options->token_file = optarg;
  } else if (letter == 'i') {
    options->with_stdin = 1;
  } else if (letter == 'q') {
    options->takes_turns = 1;
  } else if (letter == 'w') {
    failed = snprintf(options->work_dir, PATH_MAX, "%s", optarg) >= PATH_MAX;
  } else if (letter == 'e') {
    failed = parse_number("--exit-with-parent", optarg, 1, INT_MAX, &number);
    options->expected_parent = (pid_t)number;
  } else {
    failed = 1;
  }
  return failed;
}

int options_parse(int argc, char** argv, Options* options) {
  static const struct option kLong[] = {
      {"host", required_argument, NULL, 'h'},         {"port", required_argument, NULL, 'p'},
      {"tracker", required_argument, NULL, 't'},      {"key", required_argument, NULL, 'k'},
      {"work-dir", required_argument, NULL, 'w'},     {"session-timeout", required_argument, NULL, 's'},
      {"memory-limit", required_argument, NULL, 'm'}, {"exit-with-parent", required_argument, NULL, 'e'},
      {"disk-limit", required_argument, NULL, 'd'},   {"token-file", required_argument, NULL, 'T'},
      {"with-stdin", no_argument, NULL, 'i'},         {"take-turns", no_argument, NULL, 'q'},
      {"help", no_argument, NULL, 'H'},               {NULL, 0, NULL, 0}};
  int letter;
  while ((letter = getopt_long(argc, argv, "", kLong, NULL)) != -1) {
    if (letter == 'H') {
      fputs(kHelp, stdout);
      return 1;
    }
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
