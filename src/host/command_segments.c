/* `kairos segments`: which there are, how many users are in each, and who. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/suggest.h"
#include "host/host_internal.h"
#include "host/reload.h"

enum { MEMBERS_A_PAGE = 100 };

/** A question under way: what engines know is copied on main, the index is read off every loop. */
struct asking {
  uv_work_t work;
  struct store *store;
  struct host_command *command;
  struct buf indexes; /**< names of the segments' indexes, as strings */
  struct buf rows;    /**< as strings: of each its map's pairs; how many are in each comes to it */
  uint32_t row_pairs, count;
};

static void put_names(struct buf *out, const char *name, const struct engine_segment *all,
                      const struct engine_segment *segment) {
  value_put_string(out, str_from(name));
  value_put_array(out, (uint32_t)segment->read_count);
  for (size_t i = 0; i < segment->read_count; i++) value_put_string(out, all[segment->reads[i]].name);
}

static void put_windows(struct buf *out, const struct engine *engine, const struct engine_segment *segment) {
  struct buf words;
  buf_init(&words);
  value_put_string(out, STR("windows"));
  value_put_array(out, (uint32_t)segment->window_count);
  for (size_t i = 0; i < segment->window_count; i++) {
    buf_clear(&words);
    engine_window_words(engine, segment->windows[i], &words);
    value_put_string(out, buf_str(&words));
  }
  buf_deinit(&words);
}

static void copy_segments(struct asking *asking, const struct engine *engine) {
  const struct engine_segment *segments;
  struct buf row;
  buf_init(&row);
  asking->count = (uint32_t)engine_segments(engine, &segments);
  asking->row_pairs = 6;
  for (uint32_t i = 0; i < asking->count; i++) {
    buf_clear(&row);
    value_put_member_text(&row, "segment", segments[i].name);
    value_put_member_text(&row, "campaign", segments[i].campaign);
    value_put_member_text(&row, "rule", segments[i].path);
    put_names(&row, "reads", segments, &segments[i]);
    put_windows(&row, engine, &segments[i]);
    value_put_member_integer(&row, "sticky_ms", segments[i].sticky);
    buf_put_str(&asking->indexes, segments[i].timer);
    buf_put_str(&asking->rows, buf_str(&row));
  }
  buf_deinit(&row);
}

static void work_list(uv_work_t *work) {
  struct asking *asking = work->data;
  struct host_command *command = asking->command;
  struct buf *out = &command->result;
  struct reader indexes = reader_of(buf_str(&asking->indexes)), rows = reader_of(buf_str(&asking->rows));
  int64_t now = clock_wall_ms();
  value_put_array(out, asking->count);
  for (uint32_t i = 0; i < asking->count && !command->status; i++) {
    struct str row = reader_str(&rows);
    uint64_t members = 0;
    command->status =
        store_count_index(asking->store, reader_str(&indexes), STR(""), now, &members, &command->err);
    value_put_map(out, asking->row_pairs + 1);
    buf_append(out, row.data, row.len);
    value_put_member_integer(out, "members", (int64_t)members);
  }
}

struct page {
  struct buf members;
  uint32_t count;
  struct buf last; /**< id of the last one */
};

static int note_member(void *context, const struct index_user *user) {
  struct page *page = context;
  struct reader since = reader_of(user->value);
  value_put_map(&page->members, 2);
  value_put_member_text(&page->members, "user", user->entity.id);
  value_put_member_integer(&page->members, "since", reader_zigzag(&since));
  page->count++;
  buf_clear(&page->last);
  buf_append(&page->last, user->entity.id.data, user->entity.id.len);
  return 0;
}

static void work_members(uv_work_t *work) {
  struct asking *asking = work->data;
  struct host_command *command = asking->command;
  struct page page = {0};
  struct buf cursor;
  buf_init(&cursor);
  if (command->user.len) index_cursor_set(&cursor, (struct entity){ENTITY_USER, command->user});
  int found = store_scan_index(asking->store, buf_str(&asking->indexes), STR(""), -1, clock_wall_ms(),
                               &cursor, MEMBERS_A_PAGE, note_member, &page, &command->err);
  command->status = found < 0 ? found : 0;
  bool more = found == MEMBERS_A_PAGE && page.count;
  value_put_map(&command->result, 3);
  value_put_member_text(&command->result, "segment", command->id);
  value_put_string(&command->result, STR("members"));
  value_put_array(&command->result, page.count);
  buf_append(&command->result, page.members.data, page.members.len);
  value_put_string(&command->result, STR("next"));
  if (more)
    value_put_string(&command->result, buf_str(&page.last));
  else
    value_put_nil(&command->result);
  buf_deinit(&cursor);
  buf_deinit(&page.members);
  buf_deinit(&page.last);
}

static void worked(uv_work_t *work, int status) {
  (void)status;
  struct asking *asking = work->data;
  struct host_command *command = asking->command;
  buf_deinit(&asking->indexes);
  buf_deinit(&asking->rows);
  memory_free(asking);
  command->done(command);
}

static void refuse(const struct engine *engine, struct host_command *command) {
  const struct engine_segment *segments;
  size_t count = engine_segments(engine, &segments);
  struct suggestion meant = {0};
  struct buf text;
  buf_init(&text);
  for (size_t i = 0; i < count; i++) suggestion_offer(&meant, command->id, segments[i].name);
  suggestion_append(&meant, &text);
  command->status = error_set(&command->err, ERROR_NOT_FOUND,
                              "there is no segment `%.*s`%.*s; `kairos segments` lists them",
                              STR_ARG(command->id), STR_ARG(buf_str(&text)));
  buf_deinit(&text);
}

static void work_nothing(uv_work_t *work) {
  (void)work;
}

void command_segments(struct host *host, struct host_command *command) {
  const struct engine *engine = reload_serving(host)->workers[0].engine;
  struct asking *asking = memory_zalloc(sizeof *asking);
  asking->work.data = asking;
  asking->store = host->shared.store;
  asking->command = command;
  command->status = 0;
  uv_work_cb work = work_list;
  int segment = command->id.len ? engine_segment_of(engine, command->id) : 0;
  if (!command->id.len) {
    copy_segments(asking, engine);
  } else if (segment < 0) {
    refuse(engine, command);
    uv_queue_work(host->loop, &asking->work, work_nothing, worked); // who asked waits for no readers
    return;
  } else {
    const struct engine_segment *segments;
    engine_segments(engine, &segments);
    buf_append(&asking->indexes, segments[segment].timer.data, segments[segment].timer.len);
    work = work_members;
  }
  lane_queue(&host->readers, &asking->work, work, worked);
}
