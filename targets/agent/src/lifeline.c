#include "lifeline.h"

#include <poll.h>
#include <unistd.h>

#include "agent.h"

/* A link that was cut says nothing, not even that it ends; the other side writes every 5 s. */
static const double SILENCE_SECONDS = 30.0;

static volatile sig_atomic_t stop_asked;
static pid_t expected_parent;
static int has_stdin;
static double last_heard;

static void on_signal(int number) {
  if (number != SIGCHLD) stop_asked = 1;
}

void lifeline_hold(pid_t parent, int with_stdin, sigset_t* wait_mask) {
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
  expected_parent = parent;
  has_stdin = with_stdin;
  last_heard = seconds_now();
}

static int stdin_is_cut(void) {
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  char beats[64];
  if (poll(&input, 1, 0) > 0) {
    if (read(STDIN_FILENO, beats, sizeof beats) <= 0) return 1;
    last_heard = seconds_now();
  }
  return seconds_now() > last_heard + SILENCE_SECONDS;
}

int lifeline_is_cut(void) {
  if (stop_asked || (expected_parent != 0 && getppid() != expected_parent)) return 1;
  if (!has_stdin || !stdin_is_cut()) return 0;
  log_line("the link that started this agent is gone");
  stop_asked = 1;
  return 1;
}
