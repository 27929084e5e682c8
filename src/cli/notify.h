/** The service manager's notification protocol: datagrams to the socket that NOTIFY_SOCKET names. */
#pragma once

/** Tell the service manager, if there is one ("READY=1", "STOPPING=1"). What fails is left: it is a courtesy.
 */
void notify_state(const char *state);
