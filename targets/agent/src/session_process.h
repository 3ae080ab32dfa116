/* The process of a session: what a client may call, and what its code may have. */
#ifndef ARMATURE_SESSION_PROCESS_H_
#define ARMATURE_SESSION_PROCESS_H_

#include <stddef.h>
#include <sys/types.h>
#include <tvm/ffi/c_api.h>

#include "session.h"

/* Serves the client to the end, in `folder`; the process dies with the agent, its parent, and dumps no core. */
_Noreturn void session_process(const Session* session, char* folder, pid_t agent);

/* The path of the file that a client's argument names: one in the session's folder, and nothing else. -1, and TVM's
 * error, where it is no such name. */
int session_file(const TVMFFIAny* argument, const char* folder, char* path, size_t size);

#endif
