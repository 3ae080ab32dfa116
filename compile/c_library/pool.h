/* Threads that do one job at a time together, the caller being the first of them. All of it is static: each
   library has its own. Needs THREADS, the most that a pool has.

   Who goes to sleep says so first and looks again then; who wakes others changes first and looks for sleepers
   then. That is right if no load passes the store before it. Where one follows the other the store is therefore an
   exchange: on the emulated board a load does pass a plain one (QEMU orders LDAR and STLR as RCpc). */
#ifndef ARMATURE_POOL_H
#define ARMATURE_POOL_H

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

/* Rounds that a thread waits awake, some tens of microseconds, before it sleeps: between two kernels of a run it
   does not. */
#ifndef POOL_SPINS
#define POOL_SPINS 4000
#endif

/* Does what is `thread`'s of a job for `threads`. */
typedef void (*pool_job)(const void *given, int turn, int thread, int threads);

typedef struct {
  struct pool *pool;
  int number;
  pthread_t thread;
} pool_worker;

typedef struct pool {
  pthread_mutex_t lock;
  pthread_cond_t begun, done;
  pool_job job; /* null: the threads end */
  const void *given;
  int turn;
  uint64_t round; /* how many jobs there were, times 256, and how many threads do this one */
  int unfinished; /* threads that still do it, without the caller */
  int sleeping;   /* threads that wait for `begun` */
  int waiting;    /* the caller waits for `done` */
  int count;      /* of threads, with the caller */
  pid_t process;
  pool_worker workers[THREADS];
} pool;

static void pool_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield");
#endif
}

/* The round after `seen`, once there is one. */
static uint64_t pool_next(pool *self, uint64_t seen) {
  uint64_t round;
  for (int i = 0; i < POOL_SPINS; i++) {
    if ((round = __atomic_load_n(&self->round, __ATOMIC_ACQUIRE)) != seen) return round;
    pool_pause();
  }
  pthread_mutex_lock(&self->lock);
  __atomic_add_fetch(&self->sleeping, 1, __ATOMIC_SEQ_CST);
  while ((round = __atomic_load_n(&self->round, __ATOMIC_SEQ_CST)) == seen)
    pthread_cond_wait(&self->begun, &self->lock);
  __atomic_sub_fetch(&self->sleeping, 1, __ATOMIC_SEQ_CST);
  pthread_mutex_unlock(&self->lock);
  return round;
}

static void *pool_work(void *argument) {
  pool_worker *self = argument;
  pool *all = self->pool;
  for (uint64_t round = 0;;) {
    round = pool_next(all, round);
    const int threads = (int)(round & 0xff);
    if (self->number >= threads) continue; /* may not look at the job: it may be the next one's already */
    if (all->job == NULL) return NULL;
    all->job(all->given, all->turn, self->number, threads);
    if (__atomic_sub_fetch(&all->unfinished, 1, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_load_n(&all->waiting, __ATOMIC_SEQ_CST)) {
      pthread_mutex_lock(&all->lock);
      pthread_cond_signal(&all->done);
      pthread_mutex_unlock(&all->lock);
    }
  }
}

static void pool_begin(pool *self, pool_job job, const void *given, int turn, int threads) {
  self->job = job;
  self->given = given;
  self->turn = turn;
  __atomic_store_n(&self->unfinished, threads - 1, __ATOMIC_RELAXED);
  __atomic_exchange_n(&self->round, ((self->round >> 8) + 1) << 8 | (uint64_t)threads, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&self->sleeping, __ATOMIC_SEQ_CST)) {
    pthread_mutex_lock(&self->lock);
    pthread_cond_broadcast(&self->begun);
    pthread_mutex_unlock(&self->lock);
  }
}

static void pool_run(pool *self, pool_job job, const void *given, int turn, int threads) {
  pool_begin(self, job, given, turn, threads);
  job(given, turn, 0, threads);
  for (int i = 0; i < POOL_SPINS; i++) {
    if (__atomic_load_n(&self->unfinished, __ATOMIC_ACQUIRE) == 0) return;
    pool_pause();
  }
  pthread_mutex_lock(&self->lock);
  __atomic_exchange_n(&self->waiting, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&self->unfinished, __ATOMIC_SEQ_CST) != 0) pthread_cond_wait(&self->done, &self->lock);
  __atomic_store_n(&self->waiting, 0, __ATOMIC_SEQ_CST);
  pthread_mutex_unlock(&self->lock);
}

/* Begins a pool of up to `threads`: fewer where the system gives no more. Signals of the process stay with the
   threads that were there before. */
static void pool_create(pool *self, int threads) {
  sigset_t all, before;
  self->count = 1;
  self->round = 0;
  self->sleeping = self->waiting = 0;
  self->process = getpid();
  if (threads < 2) return;
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->begun, NULL);
  pthread_cond_init(&self->done, NULL);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int number = 1; number < threads && number < THREADS; number++) {
    pool_worker *worker = &self->workers[number];
    worker->pool = self;
    worker->number = number;
    if (pthread_create(&worker->thread, NULL, pool_work, worker)) break;
    self->count = number + 1;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* How many threads there are: one in a process forked from that of the pool, which has but the caller. */
static int pool_threads(const pool *self) {
  return self->count > 1 && self->process == getpid() ? self->count : 1;
}

static void pool_destroy(pool *self) {
  if (pool_threads(self) < 2) return;
  pool_begin(self, NULL, NULL, 0, self->count);
  for (int number = 1; number < self->count; number++) pthread_join(self->workers[number].thread, NULL);
  pthread_cond_destroy(&self->begun);
  pthread_cond_destroy(&self->done);
  pthread_mutex_destroy(&self->lock);
}

#endif
