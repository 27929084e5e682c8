#include "ingest/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

/** "127.0.0.1:8080", "[::1]:8080". */
static int parse_address(const char *address, int port, struct sockaddr_storage *out, socklen_t *len,
                         struct error *err) {
  struct str text = str_from(address);
  const char *colon = memrchr(text.data, ':', text.len);
  char host[64];
  char *end = NULL;
  long number = colon ? strtol(colon + 1, &end, 10) : -1;
  if (!colon || colon[1] < '0' || colon[1] > '9' || *end || number > 65535)
    return error_set(err, ERROR_INVALID, "%s: an address and a port are wanted, such as 127.0.0.1:8080",
                     address);
  struct str name = {text.data, (size_t)(colon - text.data)};
  bool ipv6 = name.len > 2 && name.data[0] == '[' && name.data[name.len - 1] == ']';
  if (ipv6) name = (struct str){name.data + 1, name.len - 2};
  if (number == 0) number = port;
  if (name.len < sizeof host) {
    memcpy(host, name.data, name.len);
    host[name.len] = 0;
    *len = ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (ipv6 ? uv_ip6_addr(host, (int)number, (struct sockaddr_in6 *)out) == 0
             : uv_ip4_addr(host, (int)number, (struct sockaddr_in *)out) == 0)
      return 0;
  }
  return error_set(err, ERROR_INVALID, "%s: %.*s is no numeric address", address, STR_ARG(name));
}

int ingest_probe(const char *address, struct error *err) {
  struct sockaddr_storage name = {0};
  socklen_t len;
  int yes = 1, code;
  if ((code = parse_address(address, 0, &name, &len, err))) return code;
  int descriptor = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return error_set_errno(err, errno, "%s: no socket", address);
  if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
      bind(descriptor, (struct sockaddr *)&name, len))
    code = error_set_errno(err, errno, "%s cannot be listened on", address);
  close(descriptor);
  return code;
}

int ingest_listen(const char *address, int *port, struct error *err) {
  struct sockaddr_storage name = {0};
  socklen_t len;
  int yes = 1, code;
  if ((code = parse_address(address, *port, &name, &len, err))) return code;
  int descriptor = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return error_set_errno(err, errno, "%s: no socket", address);
  if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
      setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) ||
      bind(descriptor, (struct sockaddr *)&name, len) || listen(descriptor, BACKLOG) ||
      getsockname(descriptor, (struct sockaddr *)&name, &len)) {
    code = error_set_errno(err, errno, "%s cannot be listened on", address);
    close(descriptor);
    return code;
  }
  *port = ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                           : ((struct sockaddr_in *)&name)->sin_port);
  return descriptor;
}
