/* Jobs by a pool of up to THREADS threads, in quick succession and with pauses: each share is done once. */
#define _GNU_SOURCE
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int done[THREADS], turns[THREADS]; /* plain: a race on them is a race in the pool */

static void job(const void *given, int turn, int thread, int threads) {
  done[thread] += given == done ? threads : 0;
  turns[thread] = turn;
}

int main(int count, char **arguments) {
  const int jobs = count > 1 ? atoi(arguments[1]) : 1;
  for (int most = 1; most <= THREADS; most++) {
    pool pool;
    pool_create(&pool, most);
    if (pool_threads(&pool) != most) return 1;
    for (int turn = 0; turn < jobs; turn++) {
      const int threads = 1 + turn % most;
      for (int i = 0; i < THREADS; i++) done[i] = 0;
      pool_run(&pool, job, done, turn, threads);
      for (int i = 0; i < threads; i++)
        if (done[i] != threads || turns[i] != turn) return 2;
      for (int i = threads; i < THREADS; i++)
        if (done[i] != 0) return 3;
      if (turn % 64 == 0) nanosleep(&(struct timespec){0, 1000000}, NULL); /* all are asleep by then */
    }
    pool_destroy(&pool);
  }
  puts("done");
  return 0;
}
