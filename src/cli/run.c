#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/notify.h"
#include "control/control.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
  GRACE_MS = 30 * 1000, /**< for what is in flight when the host is told to stop */
  FORGET_MS = 5 * 1000, /**< for commands that are under way when everything else is done */
  READY_TICK_MS = 5
};

/** A serving host with what belongs to its process. */
struct service {
  uv_loop_t loop;
  struct config *config;
  struct host *host;
  struct control *control;
  uv_signal_t terminate, interrupt;
  uv_timer_t ready;
  bool stopping, drained;
};

/** Until the host serves nothing is promised to anybody: stopping is dying, and the log makes that safe. */
static void on_early_signal(int number) {
  (void)number;
  _exit(CLI_DONE);
}

static void prepare_process(void) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, on_early_signal);
  signal(SIGINT, on_early_signal);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
}

static void on_drained(void *context) {
  struct service *service = context;
  service->drained = true;
  uv_stop(&service->loop);
}

static void on_signal(uv_signal_t *handle, int number) {
  struct service *service = handle->data;
  if (service->stopping) {
    LOG_WARN("host", "stopping at once; what was acknowledged is in the log", LOG_INT("signal", number));
    if (service->control) control_close(service->control);
    _exit(CLI_DONE);
  }
  service->stopping = true;
  LOG_INFO("host", "stopping", LOG_INT("signal", number));
  notify_state("STOPPING=1");
  uv_timer_stop(&service->ready);
  host_drain(service->host, GRACE_MS, on_drained, service);
}

static void on_ready_tick(uv_timer_t *timer) {
  struct service *service = timer->data;
  if (host_phase(service->host) != HOST_RUNNING) return;
  uv_timer_stop(timer);
  LOG_INFO("host", "ready", LOG_TEXT("address", service->config->listen.host),
           LOG_INT("port", host_port(service->host)), LOG_INT("workers", service->config->workers));
  notify_state("READY=1");
}

static int serve(struct service *service, struct error *err) {
  const struct config *config = service->config;
  int rc = host_start(&service->host, &service->loop, config, err);
  if (rc) return rc;
  rc = control_new(&service->control, &service->loop, service->host, config->control.socket,
                   config->control.mode, err);
  if (rc == 0) {
    uv_signal_start(&service->terminate, on_signal, SIGTERM);
    uv_signal_start(&service->interrupt, on_signal, SIGINT);
    host_serve(service->host);
    uv_timer_start(&service->ready, on_ready_tick, 0, READY_TICK_MS);
  } else {
    // Its threads are at work on what was left to do; it ends as one that was told to stop.
    service->stopping = true;
    host_drain(service->host, GRACE_MS, on_drained, service);
  }
  while (!service->drained) uv_run(&service->loop, UV_RUN_DEFAULT);
  if (service->control) {
    control_close(service->control);
    int64_t deadline = clock_mono_us() + FORGET_MS * 1000;
    while (control_under_way(service->control) && clock_mono_us() < deadline) {
      uv_run(&service->loop, UV_RUN_NOWAIT);
      usleep(1000);
    }
    if (control_under_way(service->control)) {
      LOG_WARN("host", "stopped with commands under way",
               LOG_INT("commands", control_under_way(service->control)));
      _exit(CLI_DONE);
    }
  }
  return rc;
}

static void service_begin(struct service *service) {
  uv_loop_init(&service->loop);
  uv_signal_init(&service->loop, &service->terminate);
  uv_signal_init(&service->loop, &service->interrupt);
  uv_timer_init(&service->loop, &service->ready);
  service->terminate.data = service->interrupt.data = service->ready.data = service;
}

static void service_end(struct service *service) {
  uv_close((uv_handle_t *)&service->terminate, NULL);
  uv_close((uv_handle_t *)&service->interrupt, NULL);
  uv_close((uv_handle_t *)&service->ready, NULL);
  uv_run(&service->loop, UV_RUN_NOWAIT);
  if (service->host) host_free(service->host);
  uv_run(&service->loop, UV_RUN_NOWAIT);
  control_free(service->control);
  uv_loop_close(&service->loop);
}

static int run(const struct cli_arguments *arguments) {
  static struct service service;
  struct error err = {0};
  memory_setup();
  if (failpoint_init()) return CLI_USAGE;
  prepare_process();
  int rc = setup_config(arguments, &service.config);
  if (rc) return rc;
  struct config *config = service.config;
  logger_init(config->logging.level, config->logging.format, config->logging.show_users);
  const char *path = setup_config_path(arguments);
  LOG_INFO("host", "starting", LOG_TEXT("version", KAIROS_VERSION),
           LOG_TEXT("config", path ? path : "defaults"), LOG_TEXT("data_dir", config->data_dir),
           LOG_TEXT("rules_dir", config->rules_dir));
  rc = setup_library(config, &err);
  if (rc == 0) {
    service_begin(&service);
    rc = serve(&service, &err);
    service_end(&service);
  }
  if (rc) {
    LOG_ERROR("host", "cannot serve", LOG_TEXT("error", err.message));
    fprintf(stderr, "kairos: %s\n", err.message);
  } else {
    LOG_INFO("host", "stopped");
  }
  config_free(config);
  return rc ? CLI_FAILED : CLI_DONE;
}

const struct cli_command cli_run = {
    .name = "run",
    .words = "",
    .options = CLI_CONFIG | CLI_DATA_DIR | CLI_RULES | CLI_LISTEN | CLI_WORKERS,
    .summary = "serve: take events, run the rules, send the messages",
    .help = "Reads the configuration, recovers what the data directory holds, loads the\n"
            "rules, listens. Logs go to standard error; the line \"ready\" appears when\n"
            "events are taken.\n"
            "\n"
            "SIGTERM or SIGINT stops it in order: it takes no more requests, finishes what\n"
            "is in flight, writes everything. A second one stops it at once, and loses\n"
            "nothing that was acknowledged.\n"
            "\n"
            "--listen, --data-dir, --rules and --workers go before what the configuration\n"
            "says.\n"
            "\n"
            "  kairos run\n"
            "  kairos run --listen 127.0.0.1:8080 --data-dir /var/lib/kairos --rules rules\n"
            "  curl http://127.0.0.1:8080/v1/events --json '{\"event_id\":\"1\",\"user_id\":\"ada\",\n"
            "       \"event_type\":\"test\",\"timestamp\":'$(date +%s000)',\"payload\":{}}'\n",
    .run = run,
};
