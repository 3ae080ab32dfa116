/* One client's session: a process of its own, in a folder of its own. */
#ifndef ARMATURE_SESSION_H_
#define ARMATURE_SESSION_H_

#include <poll.h>
#include <sys/types.h>

enum { LAST_ERROR = 128 };

typedef struct {
  int socket;
  double seconds;       /* time limit; 0: none */
  long memory_kib;      /* what its process may have of memory; 0: no limit */
  long disk_kib;        /* what its folder may hold; 0: no limit */
  const char* work_dir; /* where the session's folder is made */
  void* server;         /* the argument of: */
  void (*wait)(void* server, struct pollfd* client, int milliseconds); /* ... for something to happen */
  void (*forget)(void* server); /* closes, in the session's process, what is not the client's */
  int (*interrupted)(void);     /* asked often: must the session end? */
  char* last_error;             /* of LAST_ERROR bytes: set where it ends badly */
} Session;

/* Serves the client until it leaves, the time is up, the memory is full, or the process crashes; closes the
 * socket and removes the folder. How it ended is logged and told to the client. */
void session_serve(const Session* session);

/* Removes a folder and what is in it. */
void remove_tree(const char* path);

#endif
