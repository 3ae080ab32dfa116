#include "lobby.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "net.h"

static const char kHello[] = "ARM1";
static const double HELLO_SECONDS = 5.0; /* a link of 200 ms that loses packets needs two */

enum { HELLO_BYTES = 4, INT_BYTES = 4 };
enum { WRONG_TOKEN = 'T', DRAINED = 'D', MAX_ANSWER = 64 * 1024 };

static void leave(Visitor* visitor) {
  close(visitor->fd);
  visitor->fd = -1;
}

static void refuse(Visitor* visitor, const char* why) {
  log_line("refused %s: %s", visitor->from, why);
  leave(visitor);
}

/* Little is sent before a session, so that what does not fit is a visitor that reads nothing. */
static int tell(const Visitor* visitor, const void* bytes, size_t count) {
  return send(visitor->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)count ? 0 : -1;
}

static void expect(Visitor* visitor, Piece piece, size_t wanted) {
  visitor->piece = piece;
  visitor->wanted = wanted;
  visitor->got = 0;
}

static int32_t number_in(const Visitor* visitor) {
  int32_t number;
  memcpy(&number, visitor->bytes, sizeof number);
  return number;
}

static void hear_hello(const Lobby* lobby, Visitor* visitor) {
  visitor->is_ours = memcmp(visitor->bytes, kHello, HELLO_BYTES) == 0;
  if (visitor->is_ours) {
    expect(visitor, NONCE, SHA256_BYTES);
  } else if (number_in(visitor) != RPC_MAGIC) {
    refuse(visitor, "it does not speak TVM RPC");
  } else if (lobby->token->length > 0) {
    refuse(visitor, "it gave no token");
  } else {
    expect(visitor, LENGTH, INT_BYTES);
  }
}

static void hear_nonce(const Lobby* lobby, Visitor* visitor) {
  uint8_t answer[1 + SHA256_BYTES] = "O";
  memcpy(visitor->client_nonce, visitor->bytes, SHA256_BYTES);
  expect(visitor, MAGIC, INT_BYTES);
  size_t count = 1;
  if (lobby->token->length > 0) {
    if (getrandom(visitor->nonce, SHA256_BYTES, 0) != SHA256_BYTES) return refuse(visitor, strerror(errno));
    answer[0] = 'T';
    memcpy(answer + 1, visitor->nonce, SHA256_BYTES);
    count += SHA256_BYTES;
    expect(visitor, PROOF, SHA256_BYTES);
  }
  if (tell(visitor, answer, count) != 0) leave(visitor);
}

static void hear_proof(const Lobby* lobby, Visitor* visitor) {
  static const char kRefused[] = {'R', WRONG_TOKEN};
  uint8_t proof[SHA256_BYTES];
  token_proof(lobby->token, "client", visitor->client_nonce, visitor->nonce, proof);
  if (!same_bytes(proof, visitor->bytes, SHA256_BYTES)) {
    tell(visitor, kRefused, sizeof kRefused);
    return refuse(visitor, "its token is not ours");
  }
  token_proof(lobby->token, "agent", visitor->client_nonce, visitor->nonce, proof);
  expect(visitor, MAGIC, INT_BYTES);
  if (tell(visitor, "P", 1) != 0 || tell(visitor, proof, sizeof proof) != 0) leave(visitor);
}

static void hear_length(Visitor* visitor) {
  int32_t length = number_in(visitor);
  if (length < 0 || length > MAX_KEY) return refuse(visitor, "it does not speak TVM RPC");
  expect(visitor, KEY, (size_t)length);
}

static void send_away(Visitor* visitor) {
  static const char kDrained[] = {'R', DRAINED};
  if (visitor->is_ours) tell(visitor, kDrained, sizeof kDrained);
  refuse(visitor, "this board is being drained");
}

static void drain(Lobby* lobby) {
  lobby->is_drained = 1;
  for (int i = 0; i < MAX_VISITORS; i++) {
    if (lobby->visitors[i].fd >= 0 && lobby->visitors[i].piece == IS_WAITING) send_away(&lobby->visitors[i]);
  }
}

/* The kernel is given room for all of it: nobody waits for a reader. */
static void answer(const Lobby* lobby, Visitor* visitor) {
  static char text[MAX_ANSWER + 5];
  const int room = sizeof text;
  lobby->describe(lobby->server, text + 5, MAX_ANSWER);
  const uint32_t length = (uint32_t)strlen(text + 5);
  text[0] = 'S';
  memcpy(text + 1, &length, sizeof length);
  setsockopt(visitor->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  if (tell(visitor, text, length + 5) != 0) log_line("%s did not take its answer", visitor->from);
  leave(visitor);
}

static void hear_key(Lobby* lobby, Visitor* visitor) {
  const char* key = (const char*)visitor->bytes;
  visitor->bytes[visitor->wanted] = '\0';
  if (visitor->is_ours && strcmp(key, "drain") == 0) {
    log_line("%s drains this board", visitor->from);
    drain(lobby);
    answer(lobby, visitor);
  } else if (visitor->is_ours && strcmp(key, "status") == 0) {
    answer(lobby, visitor);
  } else if (lobby->is_drained) {
    send_away(visitor);
  } else {
    visitor->piece = IS_WAITING;
  }
}

/* A piece is complete. */
static void hear(Lobby* lobby, Visitor* visitor) {
  switch (visitor->piece) {
    case HELLO: hear_hello(lobby, visitor); break;
    case NONCE: hear_nonce(lobby, visitor); break;
    case PROOF: hear_proof(lobby, visitor); break;
    case MAGIC:
      if (number_in(visitor) != RPC_MAGIC) return refuse(visitor, "it does not speak TVM RPC");
      expect(visitor, LENGTH, INT_BYTES);
      break;
    case LENGTH: hear_length(visitor); break;
    case KEY: hear_key(lobby, visitor); break;
    case IS_WAITING: break;
  }
}

/* Reads what is there of what is wanted, no byte more: what follows is the session's. */
static void listen_to(Lobby* lobby, Visitor* visitor) {
  while (visitor->fd >= 0 && visitor->piece != IS_WAITING) {
    size_t missing = visitor->wanted - visitor->got;
    ssize_t count = missing == 0 ? 0 : recv(visitor->fd, visitor->bytes + visitor->got, missing, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count < 0 || (count == 0 && missing > 0)) return leave(visitor);
    visitor->got += (size_t)count;
    if (visitor->got == visitor->wanted) hear(lobby, visitor);
  }
}

static void name_peer(int fd, char* text, size_t size) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  char host[64] = "?", port[8] = "?";
  if (getpeername(fd, (struct sockaddr*)&address, &length) == 0) {
    getnameinfo((struct sockaddr*)&address, length, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
  }
  snprintf(text, size, "%s:%s", host, port);
}

static Visitor* free_place(Lobby* lobby) {
  for (int i = 0; i < MAX_VISITORS; i++) {
    if (lobby->visitors[i].fd < 0) return &lobby->visitors[i];
  }
  return NULL;
}

static void welcome(Lobby* lobby) {
  Visitor* visitor = free_place(lobby);
  int fd = visitor == NULL ? -1 : accept4(lobby->listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  memset(visitor, 0, sizeof *visitor);
  visitor->fd = fd;
  visitor->number = lobby->count++;
  visitor->until = seconds_now() + HELLO_SECONDS;
  visitor->told = -1;
  net_keep_alive(fd);
  name_peer(fd, visitor->from, sizeof visitor->from);
  expect(visitor, HELLO, HELLO_BYTES);
}

static void tell_places(Lobby* lobby) {
  for (int i = 0; i < MAX_VISITORS; i++) {
    Visitor* visitor = &lobby->visitors[i];
    if (visitor->fd < 0 || visitor->piece != IS_WAITING || !visitor->is_ours) continue;
    int before = lobby->is_busy;
    for (int j = 0; j < MAX_VISITORS; j++) {
      const Visitor* other = &lobby->visitors[j];
      before += other->fd >= 0 && other->piece == IS_WAITING && other->number < visitor->number;
    }
    const uint8_t place[] = {'Q', (uint8_t)before};
    if (before == visitor->told || before == 0) continue;
    visitor->told = before;
    if (tell(visitor, place, sizeof place) != 0) leave(visitor);
  }
}

static void attend(Lobby* lobby, const struct pollfd* events) {
  for (int i = 0; i < MAX_VISITORS; i++) {
    Visitor* visitor = &lobby->visitors[i];
    if (visitor->fd < 0) continue;
    if (visitor->piece == IS_WAITING) {
      if (events[i].revents != 0) leave(visitor); /* it hung up */
    } else if (events[i].revents != 0) {
      listen_to(lobby, visitor);
    } else if (seconds_now() > visitor->until) {
      refuse(visitor, "it said too little in its time");
    }
  }
  if (events[MAX_VISITORS].revents != 0) welcome(lobby);
  tell_places(lobby);
}

void lobby_wait(Lobby* lobby, struct pollfd* other, int milliseconds, const sigset_t* mask) {
  struct pollfd events[MAX_VISITORS + 2];
  for (int i = 0; i < MAX_VISITORS; i++) {
    short wanted = lobby->visitors[i].piece == IS_WAITING ? POLLRDHUP : POLLIN;
    events[i] = (struct pollfd){lobby->visitors[i].fd, wanted, 0};
  }
  events[MAX_VISITORS] = (struct pollfd){free_place(lobby) == NULL ? -1 : lobby->listener, POLLIN, 0};
  events[MAX_VISITORS + 1] = other == NULL ? (struct pollfd){-1, 0, 0} : *other;
  const struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  if (ppoll(events, MAX_VISITORS + 2, &pause, mask) < 0) return;
  if (other != NULL) other->revents = events[MAX_VISITORS + 1].revents;
  attend(lobby, events);
}

void lobby_open(Lobby* lobby, int listener, const Token* token) {
  memset(lobby, 0, sizeof *lobby);
  lobby->listener = listener;
  lobby->token = token;
  for (int i = 0; i < MAX_VISITORS; i++) lobby->visitors[i].fd = -1;
}

Visitor* lobby_next(Lobby* lobby) {
  Visitor* next = NULL;
  for (int i = 0; i < MAX_VISITORS; i++) {
    Visitor* visitor = &lobby->visitors[i];
    if (visitor->fd < 0 || visitor->piece != IS_WAITING) continue;
    if (next == NULL || visitor->number < next->number) next = visitor;
  }
  if (next != NULL && next->is_ours && tell(next, "G", 1) != 0) leave(next);
  return next != NULL && next->fd < 0 ? NULL : next;
}

int lobby_waiting(const Lobby* lobby) {
  int count = 0;
  for (int i = 0; i < MAX_VISITORS; i++) count += lobby->visitors[i].fd >= 0 && lobby->visitors[i].piece == IS_WAITING;
  return count;
}

void lobby_close(Lobby* lobby) {
  close(lobby->listener);
  for (int i = 0; i < MAX_VISITORS; i++) {
    if (lobby->visitors[i].fd >= 0) leave(&lobby->visitors[i]);
  }
}
