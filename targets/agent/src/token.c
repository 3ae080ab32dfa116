#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

/* Takes the line end off; -1 where what is left is no token. */
static int check(Token* token, const char* where) {
  size_t length = strlen(token->text);
  while (length > 0 && strchr("\r\n", token->text[length - 1]) != NULL) token->text[--length] = '\0';
  token->length = length;
  for (size_t i = 0; i < length; i++) {
    if (token->text[i] <= ' ' || token->text[i] > '~') length = 0;
  }
  if (length >= TOKEN_LEAST && length <= TOKEN_MOST) return 0;
  log_line("%s: a token is %d to %d letters, digits or signs in one line: openssl rand -hex 32", where, TOKEN_LEAST,
           TOKEN_MOST);
  return -1;
}

static int is_private(int fd, const char* file) {
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    log_line("%s: the token's file is no file", file);
    return 0;
  }
  if (status.st_uid == geteuid() && (status.st_mode & 077) == 0) return 1;
  log_line("%s: others may read this token: it must be yours, and chmod 600", file);
  return 0;
}

static int read_file(const char* file, Token* token) {
  int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    log_line("%s: %s", file, strerror(errno));
    return -1;
  }
  ssize_t got = is_private(fd, file) ? read(fd, token->text, sizeof token->text - 1) : -1;
  close(fd);
  if (got < 0) return -1;
  token->text[got] = '\0';
  return check(token, file);
}

int token_find(const char* file, Token* token) {
  const char* text = getenv("ARMATURE_TOKEN");
  if (file == NULL && text == NULL) file = getenv("ARMATURE_TOKEN_FILE");
  if (file != NULL) return read_file(file, token);
  if (text == NULL) return 0;
  strncpy(token->text, text, sizeof token->text - 1);
  return check(token, "$ARMATURE_TOKEN");
}

int token_read_line(int fd, Token* token) {
  size_t length = 0;
  while (length < sizeof token->text - 1 && read(fd, &token->text[length], 1) == 1 && token->text[length] != '\n') length++;
  token->text[length] = '\0';
  return check(token, "the first line");
}

void token_proof(const Token* token, const char* who, const uint8_t* client_nonce, const uint8_t* agent_nonce,
                 uint8_t proof[SHA256_BYTES]) {
  Hmac mac;
  hmac_start(&mac, token->text, token->length);
  hmac_add(&mac, who, strlen(who) + 1);
  hmac_add(&mac, client_nonce, SHA256_BYTES);
  hmac_add(&mac, agent_nonce, SHA256_BYTES);
  hmac_end(&mac, proof);
}
