/** Commands about journeys under way: HOST_JOURNEYS, HOST_JOURNEY, HOST_JOURNEY_MOVE, HOST_JOURNEY_END. */
#pragma once

#include "host/host_internal.h"

/** The host runs. Main thread; answers as host_command() does. */
void command_journeys(struct host *host, struct host_command *command);
