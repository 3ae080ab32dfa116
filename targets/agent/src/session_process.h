/* The process of a session: what a client may call, and what its code may have. */
#ifndef ARMATURE_SESSION_PROCESS_H_
#define ARMATURE_SESSION_PROCESS_H_

#include <sys/types.h>

#include "session.h"

/* Serves the client to the end, in `folder`; the process dies with the agent, its parent, and dumps no core. */
_Noreturn void session_process(const Session* session, char* folder, pid_t agent);

#endif
